"""Networks over many pyramids, in batches."""

from __future__ import annotations

import torch

from backbones.rows import Captures
from heads.vpd.features import FeatureLayers
from heads.vpd.heads import NYU_SCENES, DepthHead, run_head


def test_the_rows_of_a_batch_have_their_own_outputs() -> None:
    class Network(torch.nn.Module):
        def forward(self, levels: list[torch.Tensor], factor: float) -> torch.Tensor:
            return levels[0].sum(dim=(1, 2, 3)) * factor + levels[1].sum(dim=(1, 2, 3))

    head = DepthHead(Network(), FeatureLayers(("fine", "coarse"), ((), ()), 8), torch.zeros(1, 1))  # type: ignore[arg-type]
    rows = [
        Captures(features={"fine": torch.full((1, 2, 2), float(index)), "coarse": torch.full((2, 1, 1), 1.0)})
        for index in range(5)
    ]
    outputs = run_head(head, rows, 10.0, maps=False)
    assert [float(value) for value in outputs] == [40.0 * index + 2 for index in range(5)]


def test_the_scenes_are_those_of_the_published_rows() -> None:
    assert len(set(NYU_SCENES)) == len(NYU_SCENES) == 27
