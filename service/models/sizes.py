"""The memory of models: an estimate from their files' headers, and a measurement after loading."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from backbones.free_memory import available_host_bytes
from backbones.loading.registry import find_entry
from backbones.loading.source import POCKET
from service.models.catalogue import EMBEDDED, ModelSpec, settings_of
from service.models.number_types import number_type
from service.settings.loader import Settings

# Share of the device's memory for batches, caches and other programs.
_SHARE_FOR_WEIGHTS = 0.75
# Share of the host's memory for unloaded weights.
_SHARE_FOR_HELD = 0.5
_PARTS = ("unet", "vae", "text_encoder", "transformer")


def estimate_bytes(spec: ModelSpec, settings: Settings, device: torch.device | str = "cpu") -> int:
    """Bytes that a model will take on a device, from its files' headers; 0 for files that are not downloaded yet."""
    dtype = number_type(settings_of(spec, settings), device, spec.source or spec.backbone)
    if spec.entry is not None:
        return bytes_of_folder(spec.entry.weights, dtype)
    if spec.source == EMBEDDED:
        return bytes_of_folder(POCKET, dtype)
    entry = find_entry(settings.models_path(), spec.source)
    path = Path(spec.source).expanduser() if entry is None else entry.weights
    if path.is_dir():
        return bytes_of_folder(path, dtype)
    return bytes_of_file(path, dtype) if path.is_file() else 0


def bytes_of_folder(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of the weights below a model's folder once they are held in `dtype`. Only headers are read.

    If a part has several weight files, such as one in half precision, the largest counts.
    """
    parts: dict[Path, int] = {}
    for file in (*folder.rglob("*.safetensors"), *folder.rglob("*.bin"), *folder.rglob("*.ckpt")):
        if len(file.relative_to(folder).parts) > 1 and not any(part in file.parts for part in _PARTS):
            continue
        parts[file.parent] = max(parts.get(file.parent, 0), bytes_of_file(file, dtype))
    return sum(parts.values())


def bytes_of_file(file: Path, dtype: torch.dtype) -> int:
    """Bytes of a weight file's tensors in `dtype`; of a file without a header, its own size."""
    if file.suffix != ".safetensors":
        return file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 0 < length <= min(100 << 20, file.stat().st_size):
            return file.stat().st_size
        try:
            header = json.loads(opened.read(length))
        except ValueError:
            return file.stat().st_size
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    return int(sum(math.prod(shape) for shape in shapes)) * dtype.itemsize


def bytes_by_owner(networks: Iterable[tuple[str, nn.Module]]) -> dict[str, int]:
    """Bytes of each owner's parameters and buffers; memory that several share counts for the first of them."""
    seen: set[int] = set()
    sizes: dict[str, int] = {}
    for owner, network in networks:
        sizes.setdefault(owner, 0)
        for tensor in (*network.parameters(), *network.buffers()):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                sizes[owner] += storage.nbytes()
    return sizes


def default_budget(device: torch.device) -> int:
    """The default bytes of models on a device: three quarters of the memory that is free now."""
    if device.type == "cuda":
        return int(_SHARE_FOR_WEIGHTS * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE_FOR_WEIGHTS * available_host_bytes())


def host_budget(settings: Settings, device: torch.device, device_budget: int) -> int:
    """Bytes of host memory for unloaded models: as set, else half of the memory that is free now.

    On a CPU the loaded models, up to `device_budget`, are part of that half.
    """
    if settings.engine.host_memory_bytes is not None:
        return settings.engine.host_memory_bytes
    taken = device_budget if device.type == "cpu" else 0
    return max(0, int(_SHARE_FOR_HELD * available_host_bytes()) - taken)
