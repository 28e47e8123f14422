"""The depth, segmentation and referring heads that the settings name, over the backbone that is served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args
from weakref import WeakKeyDictionary

import torch

import heads.vpd
from backbones.backbone import Backbone
from backbones.errors import ModelNotFound
from backbones.loading.registry import default_folder, find_entry
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import open_entry, open_head, read_fitted
from heads.vpd.heads import DepthHead, Head, ReferringHead, SegmentationHead, Task
from service.settings.loader import Settings

# Weights do not change once they are loaded.
_REVISIONS: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()

SHIPPED = Path(next(iter(heads.vpd.__path__))) / "pocket"


@dataclass(frozen=True, slots=True, eq=False)
class DenseHeads:
    """What there is to answer dense requests with; any of them may be missing."""

    depth: DepthHead | None = None
    segmentation: SegmentationHead | None = None
    referring: ReferringHead | None = None

    def depth_head(self) -> DepthHead:
        """Raises ModelNotFound where this server has none."""
        if self.depth is None:
            raise missing("depth")
        return self.depth

    def segmentation_head(self) -> SegmentationHead:
        """Raises ModelNotFound where this server has none."""
        if self.segmentation is None:
            raise missing("segmentation")
        return self.segmentation

    def referring_head(self) -> ReferringHead:
        """Raises ModelNotFound where this server has none."""
        if self.referring is None:
            raise missing("referring")
        return self.referring


def missing(task: Task) -> ModelNotFound:
    """The error of a task without a head, with the setting to change."""
    return ModelNotFound(
        f"this server has no {task} head for its backbone",
        hint=f"set DIFFSIGHT_HEADS__{task.upper()} to a head that `diffsight fit {task}` wrote, to VPD's published "
        f"checkpoint, or to its name in `diffsight models list`",
    )


def open_dense_heads(settings: Settings, backbone: StableDiffusion, tasks: tuple[Task, ...] = ()) -> DenseHeads:
    """The heads of `tasks`, all three by default: as the settings name them, else those shipped for this backbone.

    Raises what `open_head` raises for one that is named and does not open.
    """
    found: dict[str, Head] = {}
    for task in tasks or cast(tuple[Task, ...], get_args(Task)):
        head = _open(settings, backbone, task)
        if head is not None:
            found[task] = head
    depth, segmentation = found.get("depth"), found.get("segmentation")
    # One tensor, so that one pass of the network can be seen to serve both.
    if (
        isinstance(depth, DepthHead)
        and isinstance(segmentation, SegmentationHead)
        and depth.variant == segmentation.variant
        and _equal(depth.contexts, segmentation.contexts)
    ):
        found["depth"] = replace(depth, contexts=segmentation.contexts)
    return DenseHeads(**found)  # type: ignore[arg-type]


def _open(settings: Settings, backbone: StableDiffusion, task: Task) -> Head | None:
    named = getattr(settings.heads, task)
    if named:
        entry = find_entry(settings.models_folder or default_folder(), named)
        return open_entry(backbone, task, entry) if entry else open_head(backbone, task, Path(named).expanduser())
    shipped = SHIPPED / f"{task}.safetensors"
    fitted = read_fitted(shipped) if shipped.is_file() else None
    if fitted is None or fitted.revision != backbone.description.revision:
        return None
    return open_head(backbone, task, shipped)


def head_revision(backbone: Backbone, head: Head) -> str:
    """Digest of all that decides the head's answers: it changes when any could. Blocks while the weights are read."""
    known = _REVISIONS.get(head.network)
    if known is None:
        known = _REVISIONS[head.network] = _digest(backbone, head)
    return known


def _digest(backbone: Backbone, head: Head) -> str:
    described = backbone.description
    told = [described.revision, described.variant_revisions[head.variant], repr(head.taps), head.size]
    told += [getattr(head, name, None) for name in ("scenes", "classes", "max_metres", "maps", "tokens", "squash")]
    digest = hashlib.sha256(repr(told).encode())
    tensors = dict(head.network.state_dict())
    if not isinstance(head, ReferringHead):
        tensors["contexts"] = head.contexts
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)
