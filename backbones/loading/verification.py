"""Compare weight files with the published ones: keys, shapes, and the stock networks that they must load into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backbones.errors import CheckpointError
from backbones.loading.config_files import blaming
from backbones.loading.published_keys import Shapes
from backbones.loading.stock_networks import build_unet
from backbones.loading.weight_files import fill

INCOMPLETE = "the file is incomplete or another model's"
HINT = f"{INCOMPLETE}; networks of other sizes than the published ones need --any-size"

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def shapes_of(file: Path) -> dict[str, Tensor]:
    """Key -> tensor on the meta device, of any shape: the header of a `.safetensors` file, its values not read.

    Raises CheckpointError if it is damaged or cut off.
    """
    try:
        with safe_open(file, "pt") as opened:
            pieces = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
            return {
                key: torch.empty(piece.get_shape(), dtype=_DTYPES.get(piece.get_dtype(), torch.float32), device="meta")
                for key, piece in pieces.items()
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            file, f"it is damaged or incomplete ({error})", hint="download or copy it again"
        ) from error


def number_type(tensors: Mapping[str, Tensor]) -> str:
    """Number types of the tensors, of any shape, as one text such as "float16"."""
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()}
    return ", ".join(sorted(kinds))


def check_keys(
    source: object,
    tensors: Mapping[str, Tensor],
    published: Shapes,
    *,
    any_size: bool,
    alternatives: Shapes | None = None,
    fixed: tuple[str, ...] = (),
) -> None:
    """Raises CheckpointError if names or shapes are not the published ones.

    tensors: key -> tensor of any shape. alternatives: key -> a second published shape.
    any_size: shapes may differ, but for the number of axes and the sizes of kernels.
    fixed: prefixes of keys whose first axis identifies the model; it must be the published one at any size.
    """
    missing = sorted(published.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - published.keys())
    shared = [(key, tuple(tensors[key].shape)) for key in sorted(published.keys() & tensors.keys())]
    if any_size:
        wrong = [(key, shape) for key, shape in shared if not _alike(shape, published[key], key.startswith(fixed))]
    else:
        wrong = [(key, shape) for key, shape in shared if shape not in (published[key], (alternatives or {}).get(key))]
    if missing or unexpected or wrong:
        raise CheckpointError(
            source,
            "these are not the keys and shapes of the published model",
            missing=missing,
            unexpected=unexpected,
            mis_shaped=[f"{key}: {shape} where {published[key]} belongs" for key, shape in wrong],
            hint=INCOMPLETE if any_size else HINT,
        )


def _alike(shape: tuple[int, ...], published: tuple[int, ...], is_fixed: bool) -> bool:
    same_kernel = len(shape) == len(published) and shape[2:] == published[2:]
    return same_kernel and not (is_fixed and shape[:1] != published[:1])


def check_network(
    network: Any, tensors: Mapping[str, Tensor], source: object, *, may_lack: tuple[str, ...] = ()
) -> None:
    """Raises CheckpointError if the tensors do not fit the network, which is on the meta device.

    tensors: key -> tensor of any shape. may_lack: beginnings of keys that may be missing.
    """
    own = network.state_dict()
    lent = {key: tensor for key, tensor in own.items() if may_lack and key.startswith(may_lack)}
    fill(network, lent | on_meta(tensors), source, torch.float32, hint=INCOMPLETE)


def check_unet(config: Mapping[str, Any], tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises CheckpointError if the U-Net does not load strictly into the stock class that its config describes.

    tensors: key -> tensor of any shape. file: the config's, which errors name.
    """
    check_network(_describe_unet(config, file), tensors, file.parent)


def check_unet_config(config: Mapping[str, Any], published: Shapes, file: Path, *, any_size: bool) -> None:
    """Raises CheckpointError if the U-Net that a config describes has other keys and shapes than the published one.

    file: the config's, which errors name. any_size: as in `check_keys`.
    """
    check_keys(file, _describe_unet(config, file).state_dict(), published, any_size=any_size)


def _describe_unet(config: Mapping[str, Any], file: Path) -> Any:
    """The U-Net of a config on the meta device. Raises CheckpointError if it describes none."""
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    with blaming(file, "it describes no U-Net", hint=INCOMPLETE):
        return build_unet(public)


def on_meta(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, of any shape, without their values."""
    return {key: tensor.to("meta") for key, tensor in tensors.items()}
