"""Networks over many pyramids, in batches."""

from __future__ import annotations

import torch

from heads.vpd.heads import NYU_SCENES, in_chunks


def test_chunks_answer_as_one_batch_does() -> None:
    pyramids = [[torch.full((1, 2, 2), float(index)), torch.full((2, 1, 1), 1.0)] for index in range(5)]
    sizes: list[int] = []

    def network(levels: list[torch.Tensor], factor: float) -> torch.Tensor:
        sizes.append(len(levels[0]))
        return levels[0].sum(dim=(1, 2, 3)) * factor + levels[1].sum(dim=(1, 2, 3))

    found = in_chunks(network, pyramids, 10.0, most=2)
    assert [float(one) for one in found] == [40.0 * index + 2 for index in range(5)]
    assert sizes == [2, 2, 1]


def test_the_scenes_are_those_of_the_published_rows() -> None:
    assert len(set(NYU_SCENES)) == len(NYU_SCENES) == 27
