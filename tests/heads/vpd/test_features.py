"""The places that VPD reads of a U-Net."""

from __future__ import annotations

from backbones.engine import DirectEngine
from heads.vpd.features import find_taps


def test_taps_are_the_published_places(engine: DirectEngine) -> None:
    taps = find_taps(engine.backbone)
    levels = [name.split(".")[1] for name in taps.features]
    assert levels == ["3", "2", "1", "0"]
    for level, names in enumerate(taps.maps, start=1):
        assert {name.rpartition(".attentions.")[0] for name in names} == {
            f"down_blocks.{level}",
            f"up_blocks.{3 - level}",
        }
    assert taps.capture(maps=False).attention_maps == ()
