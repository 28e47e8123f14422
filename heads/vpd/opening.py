"""Open VPD's heads: from weights in the settings, or from those that ship for the backbone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from backbones.backbone import Backbone
from backbones.errors import ModelNotFound
from backbones.loading.registry import ModelEntry
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import open_entry, open_head, read_fitted
from heads.vpd.heads import DenseTask, DepthHead, Head, ReferringHead, SegmentationHead

OpenHead = TypeVar("OpenHead", DepthHead, SegmentationHead, ReferringHead)

POCKET = Path(__file__).parent / "pocket"
"""The heads that ship for the embedded backbone."""

# Contexts in use by their content: heads with equal contexts share one tensor, so that one pass can serve both.
_CONTEXTS: WeakValueDictionary[tuple[object, ...], Tensor] = WeakValueDictionary()


def open_task_head(
    task: DenseTask, backbone: Backbone, weights: Path | ModelEntry | None = None, *, name: str = ""
) -> Any:
    """The head of one task over `backbone`, its revision filled in.

    weights: a published checkpoint, a fitted head, or a model that was added. name: of the head of weights on a path,
    and of its variant.
    Raises ModelNotFound without weights or over a network without text, and what `open_head` and `open_entry` raise.
    """
    if weights is None or not isinstance(backbone, StableDiffusion):
        raise ModelNotFound(
            f"this server has no {task} head for its backbone",
            hint=f"set DIFFSIGHT_HEADS__{task.upper()} to a head that `diffsight fit {task}` wrote, to VPD's published "
            f"checkpoint, or to its name in `diffsight models list`",
        )
    if isinstance(weights, ModelEntry):
        head = open_entry(backbone, task, weights)
    else:
        head = open_head(backbone, task, weights, name=name)
        head = replace(head, name=name or head.name)
    head = share_contexts(head)
    return replace(head, revision=digest_head(backbone, head))


def find_shipped_head(task: DenseTask, backbone: Backbone) -> Path | None:
    """The file of the head that ships for this backbone; None if none was fitted to it."""
    file = POCKET / f"{task}.safetensors"
    fitted = read_fitted(file) if file.is_file() else None
    return file if fitted is not None and fitted.revision == backbone.description.revision else None


def share_contexts(head: Head) -> Head:
    """The head with its contexts (T, D) replaced by an equal tensor that another open head has, if there is one."""
    if isinstance(head, ReferringHead):
        return head
    contexts = head.contexts
    key = (contexts.shape, contexts.dtype, contexts.device, _bytes_of(contexts))
    return cast(Head, replace(head, contexts=_CONTEXTS.setdefault(key, contexts)))


def digest_head(backbone: Backbone, head: Head) -> str:
    """Digest of everything that decides the head's answers. Blocks while the weights are read."""
    description = backbone.description
    facts = [description.revision, description.variant_revisions[head.variant], repr(head.layers), head.size]
    facts += [getattr(head, name, None) for name in ("scenes", "classes", "max_metres", "maps", "tokens", "squash")]
    digest = hashlib.sha256(repr(facts).encode())
    tensors = dict(head.network.state_dict())
    if not isinstance(head, ReferringHead):
        tensors["contexts"] = head.contexts
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()[:32]


def _bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
