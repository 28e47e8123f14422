"""The small Stable Diffusion folders of the conformance fixtures, and what their configurations say beyond shapes."""

from __future__ import annotations

from pathlib import Path

from backbones.loading.ldm import Unrecorded

WEIGHTS = Path(__file__).parents[1] / "conformance/fixtures/diffusion_classifier/weights"
NAMES = ("sd1", "sd2", "sd2v")

UNRECORDED = {
    "sd1": Unrecorded(attention_heads=4, norm_groups=4, text_heads=4, image_size=64),
    "sd2": Unrecorded(
        prediction_type="epsilon",
        attention_heads=(2, 4, 4, 4),
        norm_groups=4,
        text_heads=4,
        text_layers=2,
        image_size=64,
    ),
    "sd2v": Unrecorded(
        prediction_type="v_prediction",
        attention_heads=(2, 4, 4, 4),
        norm_groups=4,
        text_heads=4,
        text_layers=2,
        image_size=64,
    ),
}
