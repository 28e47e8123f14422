"""The keys are those of the published files."""

from __future__ import annotations

from heads.vpd.published_keys import PREFIXES, head_keys, original_keys, unet_keys
from tests.backbones.small_networks import values


def test_the_sizes_are_the_published_ones() -> None:
    sizes = {task: (values(unet_keys(task)), values(head_keys(task))) for task in PREFIXES}
    assert sizes == {
        "depth": (859_508_800, 12_740_677),
        "segmentation": (859_520_964, 8_810_909),
        "referring": (859_520_964, 40_366_600),
    }


def test_only_depth_puts_everything_into_an_encoder() -> None:
    for task in PREFIXES:
        inner = [key for key in original_keys(task) if "unet.unet.diffusion_model." in key or "encoder_vq." in key]
        assert len(inner) == len(unet_keys(task)) + 110
        assert all(key.startswith("encoder.") == (task == "depth") for key in inner)
