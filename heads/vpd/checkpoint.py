"""Heads from files: the published checkpoints under their own key names, models that were added, and fitted heads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from backbones.loading import ldm
from backbones.loading.published_model import HEAD_FILE, UNET_FILE
from backbones.loading.registry import ModelEntry
from backbones.loading.variants import build_variant, load_variant
from backbones.loading.weight_files import check_fit, digest_of, read_tensors, write_tensors
from backbones.stable_diffusion import StableDiffusion
from heads.images import distinct_colours
from heads.vpd import ade20k
from heads.vpd.depth_network import depth_network
from heads.vpd.features import find_feature_layers
from heads.vpd.heads import NYU_SCENES, DenseTask, DepthHead, Head, ReferringHead, SegmentationHead
from heads.vpd.published_keys import PREFIXES, SCHEDULE, UNET, VAE, head_keys, list_missing_layers
from heads.vpd.referring_network import referring_network, token_length
from heads.vpd.segmentation_network import segmentation_network

FITTED = "diffsight"
"""Entry of a safetensors file's metadata that makes it a fitted head: a JSON object, `FittedAs`."""

VAE_FILE = "vae.safetensors"
"""The VAE encoder of a model that was added, under its original names."""

_WRAPPER = "module."
"""Prefix of every key in a file that was trained on several devices."""

NETWORKS: dict[str, Any] = {
    "depth": depth_network,
    "segmentation": segmentation_network,
    "referring": referring_network,
}


@dataclass(frozen=True, slots=True, eq=False)
class OriginalParts:
    """The parts of a published checkpoint: key -> tensor of the original's shape.

    unet, vae: less their prefixes, under LDM's names. head: all else, under its own names.
    """

    unet: Mapping[str, Tensor]
    vae: Mapping[str, Tensor]
    head: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class FittedAs:
    """The properties of a fitted head, stored with its weights.

    revision: of the backbone's weights. size: shorter side in pixels. classes: names, for segmentation.
    palette: (r, g, b) a class. tokens: of the text, for referring. maps: whether depth reads attention maps.
    """

    task: DenseTask
    backbone: str
    revision: str
    size: int
    max_metres: float = 10.0
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    tokens: int = 0
    maps: bool = False


# Other objects in training checkpoints, which hold only values: the referring files have a Namespace of options, and
# mmcv stores numpy scalars, whose function has another name in older numpy.
_HARMLESS: list[Any] = [argparse.Namespace, np.dtype, scalar, (scalar, "numpy.core.multiarray.scalar")]
_HARMLESS += [type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")]


def read_original(file: Path) -> dict[str, Tensor]:
    """Tensors of any shape by key, of a published checkpoint, which may hold other objects of its trainer.

    Raises ModelNotFound, and CheckpointError for a file that is damaged or would have to run code.
    """
    with torch.serialization.safe_globals(_HARMLESS):
        tensors = read_tensors(file)
    if all(key.startswith(_WRAPPER) for key in tensors):
        tensors = {key.removeprefix(_WRAPPER): tensor for key, tensor in tensors.items()}
    return tensors


def split_original(tensors: Mapping[str, Tensor], task: str, source: object) -> OriginalParts:
    """The parts of a published checkpoint: key -> tensor of any shape.

    Raises CheckpointError if the head's names are not those of the task's network, or if a part is missing.
    """
    beginnings = {"unet": PREFIXES[task] + UNET, "vae": PREFIXES[task] + VAE}
    parts = {
        part: {key.removeprefix(start): tensor for key, tensor in tensors.items() if key.startswith(start)}
        for part, start in beginnings.items()
    }
    skipped = (*beginnings.values(), SCHEDULE)
    head = {key: tensor for key, tensor in tensors.items() if not key.startswith(skipped)}
    check_names(head, task, source, missing=[f"{start}*" for part, start in beginnings.items() if not parts[part]])
    return OriginalParts(parts["unet"], parts["vae"], head)


def check_names(head: Mapping[str, Tensor], task: str, source: object, *, missing: Sequence[str] = ()) -> None:
    """Raises CheckpointError with the names that a head lacks or should not have; `head`: name -> tensor of any shape.

    missing: further missing names.
    """
    expected = head_keys(task).keys()
    lacking = [*missing, *sorted(expected - head.keys())]
    unexpected = sorted(head.keys() - expected)
    if lacking or unexpected:
        raise CheckpointError(
            source,
            f"this is no VPD {task} checkpoint",
            missing=lacking,
            unexpected=unexpected,
            hint="give the file of this task, whole",
        )


def load_network(head: Mapping[str, Tensor], task: DenseTask, source: object, device: torch.device | str) -> Any:
    """The task's network with these weights, float32, in eval mode.

    head: original name -> tensor of any shape. Raises CheckpointError with the missing, unexpected and mis-shaped keys.
    """
    check_names(head, task, source)
    network: nn.Module = NETWORKS[task](head, source)
    check_fit(network, head, source, f"the weights do not fit VPD's {task} network")
    state = {
        key: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for key, tensor in head.items()
    }
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False).to(device)


def open_original(backbone: StableDiffusion, task: DenseTask, file: Path, *, name: str = "", size: int = 0) -> Head:
    """A published checkpoint: its U-Net becomes the variant `name` (its task's name by default), its head is returned.

    size: other pixels than the published ones. Raises ModelNotFound, and CheckpointError for a file that is damaged,
    another task's or another backbone's, with the keys that are missing, unexpected or mis-shaped.
    """
    parts = split_original(read_original(file), task, file)
    check_vae(backbone, parts.vae, file)
    name = name or f"vpd-{task}"
    variant = build_variant(
        backbone,
        parts.unet,
        source=file,
        revision=digest_of(file),
        from_backbone=list_missing_layers(task),
    )
    backbone.add_variant(name, variant)
    return build_published_head(backbone, task, parts.head, file, variant=name, size=size)


def open_entry(backbone: StableDiffusion, task: DenseTask, entry: ModelEntry) -> Head:
    """A published checkpoint that `diffsight models add` has stored. Raises as `open_original` does."""
    if entry.kind != f"vpd-{task}":
        raise InvalidInput(f"heads.{task}", f"{entry.name!r} is {entry.kind}", hint=f"name a model of kind vpd-{task}")
    head = read_tensors(entry.weights / HEAD_FILE)
    check_vae(backbone, read_tensors(entry.weights / VAE_FILE), entry.weights / VAE_FILE)
    load_variant(backbone, entry.name, entry.weights / UNET_FILE, from_backbone=list_missing_layers(task))
    return build_published_head(backbone, task, head, entry.weights / HEAD_FILE, variant=entry.name)


def check_vae(backbone: StableDiffusion, vae: Mapping[str, Tensor], source: object) -> None:
    """Raises CheckpointError if a file's VAE encoder, under LDM's names, is not the backbone's, which is used.

    vae: name -> tensor of any shape, the original's. Differences within the rounding of the lower precision are
    ignored.
    """
    config = backbone.vae.config
    converted = ldm.convert_vae(vae, config)
    own = backbone.vae.state_dict()
    differing = [
        key
        for key, tensor in converted.items()
        if not key.startswith("decoder.")
        and not (
            key in own
            and own[key].shape == tensor.shape
            and torch.allclose(own[key].float().cpu(), tensor.float(), rtol=2e-2, atol=2e-3)
        )
    ]
    if differing:
        raise CheckpointError(
            source,
            f"its VAE is not that of the backbone {backbone.name!r} ({len(differing)} tensors differ, {differing[0]} "
            "is the first)",
            hint="serve the backbone that it was trained over, Stable Diffusion 1.5 for the published ones",
        )


def build_published_head(
    backbone: StableDiffusion,
    task: DenseTask,
    weights: Mapping[str, Tensor],
    source: object,
    *,
    variant: str,
    size: int = 0,
) -> Head:
    """A head with the published settings. weights: original name -> tensor of any shape, the original's."""
    described = backbone.description
    layers = find_feature_layers(described)
    network = load_network(weights, task, source, described.device)
    named: dict[str, Any] = {"network": network, "layers": layers, "variant": variant, "name": f"vpd-{task}"}
    if size:
        named["size"] = size
    with torch.no_grad():
        if task == "depth":
            contexts = network.contexts()
            scenes = NYU_SCENES if len(contexts) == len(NYU_SCENES) else number_names("scene", len(contexts))
            return DepthHead(contexts=contexts, scenes=scenes, **named)
        if task == "segmentation":
            contexts = network.contexts()
            classes, palette = ade_classes(len(contexts))
            return SegmentationHead(contexts=contexts, classes=classes, palette=palette, **named)
    return ReferringHead(tokens=token_length(network, list_feature_channels(backbone, variant)), **named)


def ade_classes(count: int) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names and palette (K, 3) uint8 of ADE20K; for another number of classes, numbers and distinct colours."""
    if count == ade20k.COUNT:
        return ade20k.read_classes()
    return number_names("class", count), distinct_colours(count)


def number_names(word: str, count: int) -> tuple[str, ...]:
    """`count` names such as "class 3"."""
    return tuple(f"{word} {index}" for index in range(count))


def list_feature_channels(backbone: StableDiffusion, variant: str = "") -> list[int]:
    """Channels of the four feature maps that VPD reads from a variant, finest first."""
    unet: Any = backbone.variants[variant].unet
    channels = []
    for name in find_feature_layers(backbone.description).features:
        block, kind, place = name.rsplit(".", 2)
        # A transformer's output has as many channels as the residual block before it.
        channels.append(unet.get_submodule(f"{block}.resnets.{place}").out_channels)
        assert kind in ("attentions", "resnets")
    return channels


def save_fitted(file: Path, network: nn.Module, fitted: FittedAs, *, half: bool = True) -> None:
    """Write a fitted head as a safetensors file; half: in half precision."""
    content = {name: getattr(fitted, name) for name in FittedAs.__dataclass_fields__}
    tensors = {
        key: tensor.half() if half and tensor.is_floating_point() else tensor
        for key, tensor in network.state_dict().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(tensors, file, {FITTED: json.dumps(content)})


def read_fitted(file: Path) -> FittedAs | None:
    """The properties in a fitted head's file, None for any other file. Raises CheckpointError if it is damaged."""
    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(FITTED)
        if text is None:
            return None
        content = json.loads(text)
        content["classes"] = tuple(content.get("classes", ()))
        content["palette"] = tuple(tuple(colour) for colour in content.get("palette", ()))
        return FittedAs(**content)
    except Exception as error:
        raise CheckpointError(
            file, f"this head can not be read ({error})", hint="fit it again, or copy it again"
        ) from error


def open_fitted(backbone: StableDiffusion, task: DenseTask, file: Path) -> Head:
    """A head that `diffsight fit` made. Raises CheckpointError if it is another task's or another backbone's."""
    fitted = read_fitted(file)
    if fitted is None or fitted.task != task:
        made = "no fitted head" if fitted is None else f"a fitted head for {fitted.task}"
        raise CheckpointError(file, f"this is {made}", hint=f"give one for {task}")
    described = backbone.description
    if fitted.revision != described.revision:
        raise CheckpointError(
            file,
            f"this head was fitted on {fitted.backbone} ({fitted.revision}), not on {described.name} "
            f"({described.revision})",
            hint=f"fit it again: diffsight fit {task} --backbone {described.name} ...",
        )
    network = load_network(read_tensors(file), task, file, described.device)
    named: dict[str, Any] = {
        "network": network, "layers": find_feature_layers(described), "size": fitted.size, "name": file.stem,
    }  # fmt: skip
    with torch.no_grad():
        if task == "depth":
            return DepthHead(
                contexts=network.contexts(), scenes=(), max_metres=fitted.max_metres, maps=fitted.maps, **named
            )
        if task == "segmentation":
            palette = np.array(fitted.palette, dtype=np.uint8)
            return SegmentationHead(contexts=network.contexts(), classes=fitted.classes, palette=palette, **named)
    return ReferringHead(tokens=fitted.tokens, squash=False, **named)


def open_head(backbone: StableDiffusion, task: DenseTask, path: Path, *, name: str = "", size: int = 0) -> Head:
    """A head from a file of either kind, or from a folder that `diffsight fit` wrote. name, size: as `open_original`.

    Raises ModelNotFound if nothing is there, and what `open_fitted` and `open_original` raise.
    """
    if path.is_dir():
        path = path / f"{task}.safetensors"
    if not path.is_file():
        raise ModelNotFound(
            f"there is no head {path}",
            hint=f"give a file that `diffsight fit {task}` wrote, a published checkpoint, or an added model's name",
        )
    if read_fitted(path) is not None:
        return open_fitted(backbone, task, path)
    return open_original(backbone, task, path, name=name, size=size)
