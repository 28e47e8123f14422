"""The keys are those of the published file."""

from __future__ import annotations

from heads.diffews.published_keys import unet_keys
from tests.backbones.small_networks import values


def test_the_size_is_the_published_one() -> None:
    assert values(unet_keys()) == 865_934_084
