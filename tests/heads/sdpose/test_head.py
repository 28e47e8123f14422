"""The heat-map head: sizes, and samples that do not affect each other."""

from __future__ import annotations

import torch

from heads.sdpose.head import HeatmapHead


def test_maps_are_twice_as_large_and_one_a_keypoint() -> None:
    head = HeatmapHead(8, 17).initialise(torch.Generator().manual_seed(0))
    assert head(torch.randn(2, 8, 6, 4)).shape == (2, 17, 12, 8)
    assert head.final_layer.bias is not None
    assert not head.final_layer.bias.any()


def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    head = HeatmapHead(8, 3).initialise(torch.Generator().manual_seed(0)).eval()
    features = torch.randn(3, 8, 6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together, alone = head(features), head(features[1:2])
    torch.testing.assert_close(together[1:2], alone)
