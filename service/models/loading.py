"""From settings to open models: the backbone, and the head of each task over it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backbones.backbone import Backbone
from backbones.errors import InvalidInput, ModelNotFound
from backbones.loading.dit import is_dit_folder, load_dit_folder
from backbones.loading.registry import ModelEntry, find_entry
from backbones.loading.source import check_device, open_backbone
from backbones.nvidia import Nvidia, look_for_nvidia
from backbones.stable_diffusion import StableDiffusion
from heads.sdpose.checkpoint import is_whole_folder, open_whole_folder
from heads.task import Task
from service.engine.host_cpu import prepare_host
from service.models.catalogue import EMBEDDED, default_backbone
from service.models.number_types import number_type, set_float32_rounding
from service.models.person_finder import open_person_finder
from service.settings.loader import Settings


class OpenHeads:
    """The heads of tasks over one backbone, each opened at its first use.

    named: weights by task; they take precedence over the settings. missing: by task without named weights that has no
    head here, what makes the error. An error itself would keep the frames of its traceback alive, and with them this
    backbone after it is unloaded.
    """

    def __init__(
        self,
        settings: Settings,
        backbone: Backbone,
        tasks: Iterable[Task[Any, Any, Any]],
        named: Mapping[str, str] | None = None,
    ) -> None:
        self.named = named or {}
        self.settings = settings
        self.backbone = backbone
        self.tasks = {task.name: task for task in tasks}
        self.missing: dict[str, partial[ModelNotFound]] = {}
        self._heads: dict[str, Any] = {}

    def open_all(self) -> None:
        """Open every task's head. Raises the errors of heads whose weights the settings name."""
        for task in self.tasks.values():
            self.find(task)

    def list_open(self) -> list[Any]:
        """The heads that are open."""
        return list(self._heads.values())

    def find(self, task: Task[Any, Any, Any]) -> Any | None:
        """The task's head; None if it needs weights and there are none."""
        if task.name not in self._heads and task.name not in self.missing:
            named = find_weights(self.settings, task.name, self.named.get(task.name))
            weights = named if named is not None else task.shipped(self.backbone)
            options = self.model_options(task.name, shipped=named is None and weights is not None)
            try:
                self._heads[task.name] = task.open(self.backbone, weights, **options)
            except ModelNotFound as error:
                if named is not None:
                    raise
                self.missing[task.name] = partial(ModelNotFound, error.message, hint=error.hint)
        return self._heads.get(task.name)

    def require(self, task: Task[Any, Any, Any]) -> Any:
        """The task's head. Raises ModelNotFound if there is none."""
        head = self.find(task)
        if head is None:
            raise self.missing[task.name]()
        return head

    def open_added(self, task: Task[Any, Any, Any], weights: ModelEntry | Path, *, name: str = "") -> Any:
        """The head of an added model, or of weights on a path, whose U-Net becomes a variant of its name.

        name: of weights on a path. Raises the errors of the head's `open`.
        """
        named = {"name": name} if name else {}
        return task.open(self.backbone, weights, **named, **self.model_options(task.name, shipped=False))

    def model_options(self, name: str, *, shipped: bool) -> Mapping[str, Any]:
        """The settings of a task's model."""
        settings = self.settings
        pose, few_shot = settings.pose, settings.few_shot
        if name in ("zero-shot", "label-tree", "image-text"):
            return {
                "template": settings.zero_shot_template,
                "temperature": settings.zero_shot_temperature,
                "calibration": settings.zero_shot_calibration,
                "max_rows": settings.limits.max_rows_per_request,
            }
        if name == "pose":
            return {
                "crop_size": (pose.crop_width, pose.crop_height),
                "finder": open_person_finder(
                    settings, self.backbone, shipped=shipped, segmentation=self._segmentation_head
                ),
                "detector_threshold": pose.detector_threshold,
                "keypoint_threshold": pose.keypoint_threshold,
                "max_persons": pose.max_persons,
            }
        if name == "few-shot":
            return {"image_size": few_shot.image_size, "bank_form": few_shot.bank_form}
        return {}

    def _segmentation_head(self) -> Any | None:
        task = self.tasks.get("segmentation")
        return None if task is None else self.find(task)


def find_weights(settings: Settings, task: str, named: str | None = None) -> Path | ModelEntry | None:
    """The weights that the settings name for a task; None if they name none. named: weights that take precedence."""
    whole = Path(settings.backbone or EMBEDDED).expanduser()
    if task == "pose" and not (named or settings.pose.checkpoint) and is_whole_folder(whole):
        return whole
    of_groups = {"pose": settings.pose.checkpoint, "few-shot": settings.few_shot.weights}
    named = named or of_groups.get(task) or getattr(settings.heads, task.replace("-", "_"), "")
    if not named:
        return None
    entry = find_entry(settings.models_path(), named)
    return entry if entry is not None else Path(named).expanduser()


def open_served(settings: Settings, source: str | None = None, *, tasks: Collection[str] = ()) -> Backbone:
    """The backbone `source`, or the one that commands open by default, on the settings' device; class-conditional too.

    tasks: further tasks than the catalogue's that will run on it, for the number type of `auto`. Raises the errors of
    `open_backbone`, and InvalidInput for heads of a U-Net over a network of another kind.
    """
    source = source or default_backbone(settings)
    folder = Path(source).expanduser()
    if not is_dit_folder(folder):
        return open_model(settings, source, tasks=tasks)
    named = {
        "pose.checkpoint": settings.pose.checkpoint,
        "few_shot.weights": settings.few_shot.weights,
        **{f"heads.{task}": getattr(settings.heads, task) for task in type(settings.heads).model_fields},
    }
    for setting, value in named.items():
        if value:
            message = f"{value!r} reads a U-Net, and the backbone {folder.name!r} is a class-conditional transformer"
            raise InvalidInput(setting, message, hint="unset it, or serve a Stable Diffusion")
    device = check_device(choose_device(settings.device))
    set_float32_rounding(settings)
    model = load_dit_folder(folder, dtype=number_type(settings, device, source), device=device)
    prepare_host([model.transformer], settings)
    return model


def open_model(settings: Settings, source: str | None = None, *, tasks: Collection[str] = ()) -> StableDiffusion:
    """The Stable Diffusion `source`, or the one that commands open by default, on the settings' device.

    tasks: as for `open_served`.

    Raises the errors of `open_backbone`, and InvalidInput for a class-conditional network.
    """
    device = choose_device(settings.device)
    source = source or default_backbone(settings)
    folder = Path(source).expanduser()
    if is_dit_folder(folder):
        message = f"{source} is a class-conditional transformer, which only classifies by its own classes"
        raise InvalidInput("backbone", message, hint="name a Stable Diffusion for this")
    set_float32_rounding(settings)
    dtype = number_type(settings, check_device(device), source, tasks=tasks)
    if is_whole_folder(folder):
        model = open_whole_folder(folder, dtype=dtype, device=check_device(device))
    else:
        model = open_backbone(
            source,
            dtype=dtype,
            device=device,
            cache_folder=settings.cache_folder,
            offline=settings.offline,
            models_folder=settings.models_folder,
        )
    prepare_host([model.variants[""].unet], settings)
    return model


def choose_device(device: str, nvidia: Nvidia | None = None) -> str:
    """The device by torch's name; `auto` is cuda if there is one, else cpu.

    nvidia: the state of the driver; None looks it up.
    Raises InvalidInput for `auto` if there is a GPU that this build of torch supports but cannot use: `auto` must not
    silently take the CPU.
    """
    if device != "auto":
        return device
    nvidia = nvidia or look_for_nvidia()
    if problem := nvidia.problem():
        raise InvalidInput("device", problem, hint=nvidia.hint())
    return "cuda" if nvidia.usable else "cpu"
