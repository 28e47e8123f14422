"""The part of the fixtures that `diffsight doctor` replays: `python -m tests.conformance.shorten` writes it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from backbones.loading.weight_files import write_tensors
from diffsight.doctor.originals import DIT_CLASS, HEADS
from tests.conformance.checks import read_tensors

FIXTURES = Path(__file__).parent / "fixtures"
_FEW_SHOT = "diffews/weight/stable-diffusion-2-1-ref8inchannels-tag4inchannels/vae/diffusion_pytorch_model"
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "vpd": {"vpd/referring/io": ("image_half", "text_features", "latents", "logits_full")},
    "dit": {"diffusion_classifier/dit/io": ("latent", "noise", f"model_output.{DIT_CLASS}")},
    "sdpose": {"sdpose/wholebody/io": ("mode.feature", "mode.scores")},
    "diffews": {"diffews/one_shot/expected": ("x0_latents", "mask")},
    "feature-pooling": {"feature_pooling/head_attention_batchnorm/io": ("feature.t150.b24", "logits")},
}
"""Tensors of each system by file, and its weights: beginnings of their names by file."""
WEIGHTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dit": ("diffusion_classifier/dit/dit", ("",)),
    "sdpose": ("sdpose/wholebody/checkpoint/decoder/decoder", ("",)),
    "diffews": (_FEW_SHOT, ("decoder.", "post_quant_conv.")),
    "feature-pooling": ("feature_pooling/head_attention_batchnorm/weights", ("",)),
}
_FIRST = {"diffews": ("x0_latents", "mask")}
"""Of these the first query alone is kept."""


def shorten_tensors() -> dict[str, Tensor]:
    """All tensors by `SYSTEM/NAME`, in the fixtures' shapes and types, those of several queries cut to the first."""
    kept: dict[str, Tensor] = {}
    for system, files in PARTS.items():
        for file, names in files.items():
            stored = read_tensors(FIXTURES / f"{file}.safetensors")
            for name in names:
                kept[f"{system}/{name}"] = stored[name][:1] if name in _FIRST.get(system, ()) else stored[name]
    for system, (file, beginnings) in WEIGHTS.items():
        stored = read_tensors(FIXTURES / f"{file}.safetensors")
        kept |= {f"{system}/weights.{name}": tensor for name, tensor in stored.items() if name.startswith(beginnings)}
    return kept


if __name__ == "__main__":
    write_tensors(shorten_tensors(), HEADS)
