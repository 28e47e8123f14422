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
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d+-of-\d+)?(?:\.(?P<behind>\w+))?"
    r"\.(?:safetensors|bin)"
)


def find_file_variant(folder: Path) -> str:
    """The variant of a part's weight files: "" if there are plain ones, else "fp16" or the first that there is.

    A folder without weights has "", too.
    """
    matches = [_WEIGHTS.fullmatch(file.name) for file in folder.iterdir()]
    variants = {match["variant"] or match["behind"] or "" for match in matches if match}
    preferred = [variant for variant in ("", "fp16", "bf16") if variant in variants]
    return (preferred or sorted(variants) or [""])[0]
