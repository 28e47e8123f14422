"""The places that VPD reads of a U-Net."""

from __future__ import annotations

from backbones.engine import DirectEngine
from heads.vpd.features import find_feature_layers


def test_taps_are_the_published_places(engine: DirectEngine) -> None:
    layers = find_feature_layers(engine.backbone)
    levels = [name.split(".")[1] for name in layers.features]
    assert levels == ["3", "2", "1", "0"]
    for level, names in enumerate(layers.maps, start=1):
        assert {name.rpartition(".attentions.")[0] for name in names} == {
            f"down_blocks.{level}",
            f"up_blocks.{3 - level}",
        }
    assert layers.capture(maps=False).attention_maps == ()
