"""The keys are those of the published files."""

from __future__ import annotations

from heads.sdpose.published_keys import head_keys, unet_keys
from tests.backbones.small_networks import values


def test_the_sizes_are_the_published_ones() -> None:
    assert values(unet_keys()) == 867_556_804
    assert {name: values(head_keys(name)) for name in ("body", "wholebody")} == {
        "body": 1_746_577,
        "wholebody": 7_049_093,
    }
