"""Races over tables of errors, so that thousands of orders cost no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from backbones.engine import complete
from heads.diffusion_classifier.anytime import ErrorsOf, Race, anytime_race
from heads.diffusion_classifier.units import Layout

# 8 labels on 1,000 units: what the original computed for the conformance case `full_matrix`.
MATRIX: NDArray[np.float64] = (
    load_file(Path(__file__).with_name("full_matrix.safetensors"))["error_matrix"].double().numpy()
)
LAYOUT = Layout(1000, 500, (16, 32, 64, 128, 256))


def errors_from(table: NDArray[np.float64]) -> ErrorsOf:
    """Evidence out of a (hypotheses, units) table."""
    tensor = torch.from_numpy(table)

    async def errors_of(candidates: Sequence[int], units: Sequence[int]) -> Tensor:
        return tensor[list(candidates)][:, list(units)]

    return errors_of


def races(table: NDArray[np.float64], seeds: Iterable[int], layout: Layout = LAYOUT, **options: Any) -> list[Race]:
    """A race for each seed's order of blocks."""

    async def run() -> list[Race]:
        finished = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(layout.blocks).tolist()
            members = [(index,) for index in range(len(table))]
            finished.append(await anytime_race(errors_from(table), members, layout, order, **options))
        return finished

    return complete(run())


def wrong(finished: Iterable[Race], best: int) -> Iterator[Race]:
    """The races whose answer is not `best`."""
    return (race for race in finished if race.elimination.leader != best)
