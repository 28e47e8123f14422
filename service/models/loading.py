"""From settings to a warm engine: the backbone is opened on a thread of its own, while the server already answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import torch
from starlette.requests import Request

from backbones.errors import DiffsightError, InvalidInput
from backbones.loading.dit import is_dit_folder, load_dit_folder
from backbones.loading.registry import default_folder, find_entry
from backbones.loading.source import check_device, open_backbone
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import Backbone, StableDiffusion
from heads.sdpose.checkpoint import is_whole_folder, open_whole_folder
from service.dense import DenseHeads, open_dense_heads
from service.engine.caches import TensorCache
from service.engine.host_cpu import prepare_host
from service.engine.worker import DeviceWorker
from service.errors import NotReady
from service.library.calibration import Calibration, open_calibration
from service.pose import PoseService, open_pose_service
from service.settings.loader import Settings
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.library.banks import BankCache

log = structlog.get_logger("diffsight")

Started = Callable[[BaseException | None], None]
"""Told once when start-up ends: None when the service is ready, else why it never will be."""


class Service:
    """What the routes of one app share: its settings, its metrics, and its engine once that is warm."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.vectors = TensorCache(settings.engine.vector_cache_bytes)
        self.failure: BaseException | None = None
        self.poses = PoseService()
        self.dense = DenseHeads()
        self.calibration: Calibration | None = None
        self._engine: DeviceWorker | None = None
        self._ready = False
        self._stopped = False

    @property
    def engine(self) -> DeviceWorker:
        """The warm engine. Raises NotReady before that, after a failed start, and once its device thread has died."""
        if self.failure is not None:
            raise NotReady("the backbone could not be loaded", hint="the server's log says why")
        if self._stopped:
            raise NotReady("the server is stopping", hint="ask again when it is back")
        if self._engine is None or not self._ready:
            raise NotReady("the backbone is being loaded", hint="ask again when /health/ready answers 200")
        if not self._engine.alive:
            raise NotReady("the device's worker has stopped", hint="restart the server; its log says why")
        return self._engine

    @cached_property
    def banks(self) -> BankCache:
        """The banks of supports that few-shot requests share."""
        from service.library.banks import BankCache

        few_shot = self.settings.few_shot
        return BankCache(
            self.settings.data_path() / "bank",
            device_bytes=few_shot.device_cache_bytes,
            host_bytes=few_shot.host_cache_bytes,
            disk_bytes=few_shot.disk_cache_bytes,
        )

    def check_live(self) -> None:
        """Raises NotReady where only a restart can help: a failed start, or a dead device thread."""
        if self.failure is not None or self._ready:
            _ = self.engine

    async def start(self, on_started: Started | None = None) -> None:
        """Open the backbone, start the engine and warm it up. A failure is kept and told, not raised."""
        try:
            model = await _on_own_thread(self._open)
            self._engine = build_engine(model, self.settings)
            self._engine.on_batch = self.metrics.count_batch
            self.metrics.watch(self._engine.figures)
            self._engine.start()
            await warm_up(self._engine)
        except Exception as error:
            self.failure = error
            told = {"exc_info": error} if not isinstance(error, DiffsightError) else {"error": str(error)}
            log.error("start-up failed", backbone=self.settings.backbone, **told)
        else:
            self._ready = True
            log.info("ready", backbone=model.description.name, device=str(model.description.device))
        if on_started is not None:
            on_started(self.failure)

    def _open(self) -> Backbone:
        """The backbone, and what heads of its own the settings name."""
        model = open_served(self.settings)
        if isinstance(model, StableDiffusion):
            self.dense = open_dense_heads(self.settings, model)
            self.poses = open_pose_service(self.settings, model, lambda: self.dense.segmentation)
        self.calibration = open_calibration(self.settings, model.description)
        return model

    def stop(self) -> None:
        """End the engine; what waits in it is answered with Cancelled."""
        self._stopped = True
        if self._engine is not None:
            self._engine.stop()


def service_of(request: Request) -> Service:
    """The service behind the app that got this request."""
    service: Service = request.app.state.service
    return service


def open_served(settings: Settings) -> Backbone:
    """The backbone that the settings name, on their device, class-conditional ones too.

    Raises what `open_backbone` raises, and InvalidInput for heads of a U-Net over a network that is none.
    """
    folder = Path(settings.backbone).expanduser()
    if not is_dit_folder(folder):
        return open_model(settings)
    named = {
        "pose.checkpoint": settings.pose.checkpoint,
        "few_shot.weights": settings.few_shot.weights,
        **{f"heads.{task}": getattr(settings.heads, task) for task in type(settings.heads).model_fields},
    }
    for setting, value in named.items():
        if value:
            told = f"{value!r} reads a U-Net, and the backbone {folder.name!r} is a class-conditional transformer"
            raise InvalidInput(setting, told, hint="unset it, or serve a Stable Diffusion")
    dtype, device = getattr(torch, settings.dtype), choose_device(settings.device)
    model = load_dit_folder(folder, dtype=dtype, device=check_device(device))
    prepare_host(model.transformer, settings)
    return model


def default_templates(settings: Settings) -> list[str]:
    """Prompts of zero-shot requests that give none; a class-conditional network takes a label as it stands."""
    return ["{}"] if is_dit_folder(Path(settings.backbone).expanduser()) else [settings.zero_shot_template]


def open_model(settings: Settings) -> StableDiffusion:
    """The Stable Diffusion that the settings name, on their device.

    Raises what `open_backbone` raises, and InvalidInput for a class-conditional network.
    """
    dtype, device = getattr(torch, settings.dtype), choose_device(settings.device)
    if is_dit_folder(Path(settings.backbone).expanduser()):
        told = f"{settings.backbone} is a class-conditional transformer, which only classifies by its own classes"
        raise InvalidInput("backbone", told, hint="name a Stable Diffusion for this")
    if is_whole_folder(Path(settings.backbone).expanduser()):
        whole = Path(settings.backbone).expanduser()
        model = open_whole_folder(whole, dtype=dtype, device=check_device(device))
    else:
        model = open_backbone(
            settings.backbone,
            dtype=dtype,
            device=device,
            cache_folder=settings.cache_folder,
            offline=settings.offline,
            models_folder=settings.models_folder,
        )
        open_few_shot(model, settings)
    prepare_host(model.variants[""].unet, settings)
    return model


def open_few_shot(model: StableDiffusion, settings: Settings) -> None:
    """Load the few-shot U-Net that the settings name, or the one that ships with `pocket`; without one, nothing.

    Raises ModelNotFound and CheckpointError where it does not load.
    """
    from heads.diffews.checkpoint import POCKET, load_few_shot

    weights = settings.few_shot.weights
    if weights is not None:
        entry = find_entry(settings.models_folder or default_folder(), weights)
        load_few_shot(model, entry.weights if entry is not None else Path(weights).expanduser())
    elif settings.backbone == "pocket" and POCKET.is_dir():
        load_few_shot(model, POCKET)


def choose_device(asked: str) -> str:
    """The device by torch's name; `auto` is cuda where there is one, else cpu."""
    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def build_engine(model: Backbone, settings: Settings) -> DeviceWorker:
    """The engine over `model`, not yet started."""
    return DeviceWorker(
        model,
        max_batch_rows=settings.engine.max_batch_rows,
        max_waiting_rows=settings.engine.max_waiting_rows,
        context_cache_bytes=settings.engine.context_cache_bytes,
        latent_cache_bytes=settings.engine.latent_cache_bytes,
    )


async def warm_up(engine: DeviceWorker) -> None:
    """One encode, one embed and U-Net batches, so that the first caller does not pay for what only happens once."""
    model = engine.model.description
    side = model.image_size // model.downscale
    with engine.session("warm_up") as request:
        await request.encode([torch.zeros(3, model.image_size, model.image_size)])
        context = (await request.embed([""]))[0] if model.max_tokens else None
        row = UNetRow(
            latents=torch.zeros(model.latent_channels, side, side, dtype=model.dtype, device=model.device),
            timestep=0,
            encoder_hidden_states=context,
            capture=Capture(noise_pred=True),
            class_label=0 if model.num_class_labels else None,
        )
        # Every size of batch has kernels of its own to be chosen on a GPU; on a CPU one row shows that it works.
        largest = 32 if model.device.type == "cuda" else 1
        size = 1
        while size <= largest:
            await request.unet([row] * size)
            size *= 2


async def _on_own_thread(work: Callable[[], Backbone]) -> Backbone:
    """`work()` on a daemon thread, so that a server told to stop does not wait for a download to end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Backbone] = loop.create_future()

    def settle(result: Backbone | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if result is not None:
            future.set_result(result)
        elif error is not None:
            future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="open backbone", daemon=True).start()
    return await future
