"""The keys are those of the published Stable Diffusion."""

from __future__ import annotations

from pathlib import Path

from backbones.loading.published import SIZES
from backbones.loading.published_keys import read_shapes, sd1_unet_keys, sd2_unet_keys, vae_encoder_keys
from tests.backbones.small_networks import values


def test_the_sizes_are_the_published_ones() -> None:
    assert values(sd1_unet_keys()) == SIZES["sd15"]["unet"]
    assert values(sd2_unet_keys()) == SIZES["sd21"]["unet"]
    assert values(vae_encoder_keys()) < SIZES["sd15"]["vae"]
    assert sd1_unet_keys().keys() - sd1_unet_keys(output=False).keys() == {
        "out.0.weight", "out.0.bias", "out.2.weight", "out.2.bias"
    }  # fmt: skip


def test_shapes_are_read_by_group(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"unet": {"a.weight": [2, 3]}, "vae": {}}')
    assert read_shapes(tmp_path / "keys.json") == {"unet": {"a.weight": (2, 3)}, "vae": {}}
