"""Read tensors from weight files without executing code in them, and load them into networks with every key checked."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from backbones.errors import CheckpointError, ModelNotFound
from backbones.files import DAY, remove_leftovers, replacing_path
from backbones.loading.private_memory import MappedFiles, private_copy

# Training programs put the network's weights under one of these names, next to the optimizer's state.
_NESTED_UNDER = ("state_dict", "model")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of any shape by key, on the CPU: a `.safetensors` file, or a torch file read with `weights_only=True`.

    Tensors under "state_dict" or "model" are returned alone; other values, such as step counters, are left out. Raises
    ModelNotFound if there is no such file, CheckpointError if it is damaged or would have to run code.
    """
    if not file.is_file():
        raise ModelNotFound(f"{file} does not exist", hint="give the path of a .safetensors, .ckpt, .pt or .bin file")
    content: Any
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign is None:
            raise _damage_error(file, error) from error
        raise CheckpointError(
            file,
            f"it holds Python objects ({foreign[1]}) and not tensors alone; unpickling those could run any code, so it "
            "is refused",
            hint="use the model's .safetensors file, or convert this file to safetensors if you trust it",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise _damage_error(file, error) from error
    for key in _NESTED_UNDER:
        if isinstance(content, dict) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        content = {}
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(file, "it holds no tensors", hint="give a file of weights")
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole, with the permissions of a new file: another user's server often serves it.

    tensors: key -> tensor of any shape, on any device. metadata: strings to store in the file.
    """
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    remove_leftovers(file.parent, older_than_seconds=DAY)
    with replacing_path(file) as beside:
        # transformers refuses a file that does not name its format.
        save_file(contiguous, beside, metadata={"format": "pt", **(metadata or {})})


def _damage_error(file: Path, error: Exception) -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        file, f"it is damaged, incomplete, or no weight file ({reason})", hint="download or copy it again"
    )


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    dtype: torch.dtype,
    *,
    layout: torch.memory_format = torch.contiguous_format,
    unexpected: tuple[str, ...] = (),
    hint: str = "",
) -> None:
    """Replace the network's parameters by `tensors`, cast to `dtype`; the network may be on the meta device.

    tensors: key -> tensor of any shape, the parameter's. layout: of convolution weights in memory. unexpected: keys
    already known to have no place here.
    Raises CheckpointError with the missing, unexpected and mis-shaped keys, if there is any.
    """
    check_fit(
        network,
        tensors,
        source,
        f"the weights do not fit {type(network).__name__} (keys as diffusers and transformers name them)",
        unexpected=unexpected,
        hint=hint,
    )
    files = MappedFiles()
    copies = {key: private_copy(tensor, dtype, files, layout) for key, tensor in tensors.items()}
    network.load_state_dict(copies, strict=True, assign=True)


def check_fit(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    source: object,
    message: str,
    *,
    unexpected: tuple[str, ...] = (),
    hint: str = "",
) -> None:
    """Raises CheckpointError with `message` and the missing, unexpected and mis-shaped keys, if there is any.

    tensors: key -> tensor of any shape, which should be the network's. unexpected: keys already known to have no
    place here.
    """
    own = network.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = tuple(sorted({*unexpected, *(tensors.keys() - own.keys())}))
    mis_shaped = [
        f"{key}: {tuple(tensors[key].shape)} where {tuple(own[key].shape)} belongs"
        for key in sorted(own.keys() & tensors.keys())
        if own[key].shape != tensors[key].shape
    ]
    if missing or unexpected or mis_shaped:
        raise CheckpointError(source, message, missing=missing, unexpected=unexpected, mis_shaped=mis_shaped, hint=hint)


def digest_of(*parts: Path | str) -> str:
    """16 hexadecimal digits that change with every file and text among `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        else:
            digest.update(part.encode())
    return digest.hexdigest()[:16]
