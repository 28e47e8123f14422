"""The number type of a backbone by device, and whether float32 may be rounded to TF32."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from heads.sdpose.checkpoint import is_whole_folder
from service.models.catalogue import EMBEDDED, build_catalogue, names_models
from service.settings.loader import Settings

IN_FULL = frozenset({"pose"})
"""Tasks whose metric changes too much in half precision, so that `auto` keeps their backbone in float32.

The rule: a tenth of a point of the metric, and for keypoints 0.01 pixels on average. `benchmarks.number_types` measures
it: bfloat16 moves the points of `pocket` by 0.015 pixels. docs/backbones.md has the table.
"""


def number_type(
    settings: Settings, device: torch.device | str, source: str | None = None, *, tasks: Collection[str] = ()
) -> torch.dtype:
    """The type of a backbone's weights and work: as set, else bfloat16 on CUDA and float32 on other devices.

    A backbone of a task in `IN_FULL` stays in float32 for all its tasks. source: of the backbone; None is the
    catalogue's first. tasks: further tasks than the catalogue's that will run on it.
    """
    if settings.dtype != "auto":
        chosen: torch.dtype = getattr(torch, settings.dtype)
        return chosen
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.float32 if IN_FULL & {*tasks, *_find_served(settings, source)} else torch.bfloat16


def set_float32_rounding(settings: Settings) -> None:
    """Let CUDA round the factors of float32 products to TF32, or not: in matrix products and convolutions alike.

    torch's own default rounds in convolutions alone. On other devices this changes nothing.
    """
    torch.backends.cuda.matmul.allow_tf32 = settings.tf32
    torch.backends.cudnn.allow_tf32 = settings.tf32


def _find_served(settings: Settings, source: str | None) -> set[str]:
    """Tasks of a table like `IN_FULL` that have weights for this backbone: added, named by the settings, or shipped."""
    catalogue = build_catalogue(settings)
    if source is None:
        source = settings.backbone or next(spec.source for spec in catalogue if not spec.task)
    if source == EMBEDDED or is_whole_folder(Path(source).expanduser()):
        return {"pose"}
    if names_models(settings) and settings.pose.checkpoint and source == (settings.backbone or EMBEDDED):
        return {"pose"}
    ids = {spec.id for spec in catalogue if spec.source == source}
    return {spec.task for spec in catalogue if spec.task and spec.backbone in ids}
