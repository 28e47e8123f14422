"""Names of weight files in the layout of diffusers, and of a model that stands in one file."""

from __future__ import annotations

UNET_STEM = "diffusion_pytorch_model"

PARTS = {"unet": UNET_STEM, "vae": UNET_STEM, "text_encoder": "model"}
"""Networks of a diffusers folder, and what their weight files are called, less the ending."""

OLD_PARTS = PARTS | {"text_encoder": "pytorch_model"}
"""The same for `.bin` files: before safetensors, transformers called its file otherwise than diffusers."""

SINGLE_FILES = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
"""Endings of files that may hold a whole model."""
