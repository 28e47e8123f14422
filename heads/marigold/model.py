"""Marigold's networks over their backbone: a U-Net that denoises a prediction's latents, concatenated with the image's
latents.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from backbones.backbone import Backbone, Description
from backbones.errors import CheckpointError, ModelNotFound
from backbones.loading.config_files import read_json
from backbones.loading.registry import ModelEntry
from backbones.loading.variants import base_revision, check_base_revision, load_variant
from backbones.stable_diffusion import StableDiffusion

Modality = Literal["depth", "normals"]
Noise = Literal["gaussian", "zeros"]

PAIR = "pair"
"""Name of the input convolution that takes latents of the image and of the prediction, in this order."""
INDEX_FILE, SCHEDULER_FILE = "model_index.json", "scheduler/scheduler_config.json"
NOISE = "noise"
"""Our own entry of `model_index.json`: what denoising starts from."""
POCKET = Path(__file__).parent / "pocket"
"""The networks that ship for the embedded backbone, a folder for each prediction; it may be empty."""

_SCHEDULERS = ("DDIMScheduler", "LCMScheduler")
_RESOLUTION = 768
_FEW_STEPS = {"DDIMScheduler": 4, "LCMScheduler": 1}


@dataclass(frozen=True, slots=True, eq=False)
class MarigoldModel:
    """One of Marigold's networks.

    scheduler: configuration of the diffusers scheduler that `scheduler_class` names. steps, resolution: defaults of
    requests; resolution is the longer side in pixels. noise: what denoising starts from; networks that were fine-tuned
    to answer in one step (arXiv:2409.11355) start from zeros. scale_invariant, shift_invariant: what depth is free in.
    full_z: whether the network gives the whole range of z.
    """

    backbone: Description
    prediction: Modality
    name: str
    variant: str
    scheduler_class: str
    scheduler: Mapping[str, Any]
    steps: int
    resolution: int
    noise: Noise = "gaussian"
    scale_invariant: bool = True
    shift_invariant: bool = True
    full_z: bool = True

    @property
    def revision(self) -> str:
        """Digest of the network's weights. If it is unchanged, answers are unchanged."""
        facts = [self.prediction, self.scheduler_class, dict(self.scheduler), self.steps, self.resolution, self.noise]
        facts += [self.scale_invariant, self.shift_invariant, self.full_z]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return f"{self.backbone.revision}+{self.backbone.variant_revisions[self.variant]}+{digest}"

    def start_schedule(self, steps: int) -> Any:
        """A scheduler of diffusers with its timesteps set: it keeps state, so each denoising has its own."""
        import diffusers  # takes seconds: only what runs a model pays for it

        scheduler: Any = getattr(diffusers, self.scheduler_class).from_config(dict(self.scheduler))
        scheduler.set_timesteps(steps)
        return scheduler


def open_marigold(
    prediction: Modality, backbone: Backbone, weights: Path | ModelEntry | None = None, *, name: str = ""
) -> MarigoldModel:
    """The network in `weights`, as a variant of the backbone; an added model's under its own name.

    weights: a folder as published, with unet/, scheduler/ and model_index.json, or one that `diffsight fit` wrote.
    name: of weights on a path, and of their variant.
    Raises ModelNotFound without weights or over a network without text, CheckpointError where they do not fit.
    """
    if weights is None or not isinstance(backbone, StableDiffusion):
        raise ModelNotFound(
            f"this server has no {prediction} network of Marigold for its backbone",
            hint=f"`diffsight models add sd21` and `diffsight models add marigold-{prediction}` bring one",
        )
    folder = weights.weights if isinstance(weights, ModelEntry) else weights
    name = weights.name if isinstance(weights, ModelEntry) else name or f"marigold-{prediction}"
    index, scheduler = read_settings(folder)
    scheduler_class = str(scheduler["_class_name"])
    check_prediction(prediction, index, folder)
    load_pair_variant(backbone, name, folder)
    description = backbone.description
    resolution = index.get("default_processing_resolution") or min(_RESOLUTION, description.image_size)
    return MarigoldModel(
        backbone=description,
        prediction=prediction,
        name=name,
        variant=name,
        scheduler_class=scheduler_class,
        scheduler=scheduler,
        steps=int(index.get("default_denoising_steps") or _FEW_STEPS[scheduler_class]),
        resolution=int(resolution),
        noise="zeros" if index.get(NOISE) == "zeros" else "gaussian",
        scale_invariant=index.get("scale_invariant", True) is not False,
        shift_invariant=index.get("shift_invariant", True) is not False,
        full_z=index.get("use_full_z_range", True) is not False,
    )


def load_pair_variant(backbone: StableDiffusion, name: str, folder: Path) -> None:
    """Make the U-Net in a folder available to rows as `name`, its input convolution as `PAIR`.

    Raises ModelNotFound if nothing is there, CheckpointError where it does not fit the backbone.
    """
    parts_of = check_base_revision(backbone, folder)
    load_variant(
        backbone,
        name,
        folder,
        prediction_type="v_prediction",
        input_convolutions={PAIR: "conv_in"},
        from_backbone=("",) if parts_of else ("conv_in.",),
    )
    channels = backbone.variants[name].input_convolutions[PAIR].in_channels
    if channels != 2 * backbone.description.latent_channels:
        backbone.remove_variant(name)
        belongs = 2 * backbone.description.latent_channels
        raise CheckpointError(
            folder,
            f"its U-Net takes {channels} channels, where {belongs} belong: latents of image and prediction",
            hint="give one of Marigold's folders, such as prs-eth/marigold-depth-v1-1",
        )


def read_settings(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings in `model_index.json` and in the scheduler's configuration.

    Raises ModelNotFound if one is missing, CheckpointError for a scheduler that Marigold does not use.
    """
    for file in (INDEX_FILE, SCHEDULER_FILE):
        if not (folder / file).is_file():
            raise ModelNotFound(f"{folder / file} is missing", hint="copy or download the folder again, whole")
    scheduler = read_json(folder / SCHEDULER_FILE)
    name = scheduler.get("_class_name")
    if name not in _SCHEDULERS:
        raise CheckpointError(
            folder / SCHEDULER_FILE, f"the scheduler {name!r} is none of {', '.join(_SCHEDULERS)}", hint="name another"
        )
    return read_json(folder / INDEX_FILE), scheduler


def check_prediction(prediction: Modality, index: Mapping[str, Any], source: object) -> None:
    """Raises CheckpointError if a folder's `model_index.json` says that it predicts something else."""
    # Older pipelines of normals do not write their prediction; the class's name is always there.
    says = str(index.get("prediction_type") or prediction)
    other = {"depth": "MarigoldNormalsPipeline", "normals": "MarigoldDepthPipeline"}[prediction]
    if says != prediction or index.get("_class_name") == other:
        says = says if says != prediction else str(index["_class_name"])
        raise CheckpointError(
            source, f"it predicts {says!r}, and the task is about {prediction}", hint="use it for its own task"
        )


def find_shipped_marigold(prediction: Modality, backbone: Backbone) -> Path | None:
    """The folder of the network that ships for this backbone; None if none was fitted to it."""
    folder = POCKET / prediction
    fits = folder.is_dir() and base_revision(folder) == backbone.description.revision
    return folder if fits else None


open_depth, open_normals = partial(open_marigold, "depth"), partial(open_marigold, "normals")
shipped_depth, shipped_normals = partial(find_shipped_marigold, "depth"), partial(find_shipped_marigold, "normals")
