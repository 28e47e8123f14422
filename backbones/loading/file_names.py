"""Names of weight files in the layout of diffusers, and of single-file models."""

from __future__ import annotations

import re
from pathlib import Path

UNET_STEM = "diffusion_pytorch_model"

PARTS = {"unet": UNET_STEM, "vae": UNET_STEM, "text_encoder": "model"}
"""Networks of a diffusers folder, and what their weight files are called, less the ending."""

OLD_PARTS = PARTS | {"text_encoder": "pytorch_model"}
"""The same for `.bin` files: before safetensors, transformers called its file otherwise than diffusers."""

SINGLE_FILES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
"""Endings of files that may hold a whole model."""

# Sharded files have had the variant before and behind their number.
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-(?P<number>\d+)-of-\d+)?(?:\.(?P<behind>\w+))?"
    r"\.(?:safetensors|bin)"
)


def find_file_variant(folder: Path) -> str:
    """The variant of a part's weight files: "" if there are plain ones, else "fp16" or the first that there is.

    A folder without weights has "", too.
    """
    variants = {_variant_of(match) for _, match in _find_weights(folder)}
    preferred: list[str] = [variant for variant in ("", "fp16", "bf16") if variant in variants]
    return (preferred or sorted(variants) or [""])[0]


def find_weight_files(folder: Path, variant: str = "") -> list[Path]:
    """The file of a part's weights, or its numbered pieces, in order; safetensors if there are any. May be empty."""
    of_variant = [(file, match) for file, match in _find_weights(folder) if _variant_of(match) == variant]
    for ending in (".safetensors", ".bin"):
        whole = [file for file, match in of_variant if file.suffix == ending and not match["number"]]
        pieces = [file for file, match in of_variant if file.suffix == ending and match["number"]]
        if whole or pieces:
            return whole[:1] or pieces
    return []


def _find_weights(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    return [(file, match) for file in sorted(folder.iterdir()) if (match := _WEIGHTS.fullmatch(file.name))]


def _variant_of(match: re.Match[str]) -> str:
    return match["variant"] or match["behind"] or ""
