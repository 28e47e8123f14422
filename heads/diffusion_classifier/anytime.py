"""The race with a known error rate: it computes rows only until the answer is decided, and can stop at any time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backbones.errors import InvalidInput, NotANumber
from heads.diffusion_classifier.elimination import Elimination
from heads.diffusion_classifier.units import Layout, units_of, within_rows

# Rows of one engine call if time is limited: the clock is read after each call.
SLICE_ROWS = 64

ErrorsOf = Callable[[Sequence[int], Sequence[int]], Awaitable[Tensor]]
"""(prompts, units) -> (prompts, units) float32: the denoising error of each prompt on each unit, in the order of the
arguments.
"""

Stop = Literal["decided", "indifferent", "budget", "complete"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a race.

    rows: U-Net rows. seconds: since the classification began. At least one block is computed.
    """

    rows: int | None = None
    seconds: float | None = None


@dataclass(slots=True)
class Race:
    """The state of a race. rows: computed so far. stopped: why it ended, None while it runs.

    rows_at: rows spent, by the number of visited blocks.
    """

    elimination: Elimination
    rows: int
    stopped: Stop | None
    rows_at: dict[int, int]


async def anytime_race(
    errors_of: ErrorsOf,
    hypotheses: Sequence[Sequence[int]],
    layout: Layout,
    order: Sequence[int],
    *,
    error_rate: float = 0.05,
    budget: Budget | None = None,
    started: float | None = None,
    indifference: float = 0.0,
    answers: Sequence[int] | None = None,
    on_look: Callable[[Race], None] | None = None,
) -> Race:
    """Visit blocks in `order` until one answer is left, the budget is spent, or all blocks are visited.

    errors_of: the source of errors, a network or a table. hypotheses: each one's prompts; its error on a unit
    is their mean. order: a permutation of the blocks. started: `time.perf_counter()` when the time of the budget began.
    answers, error_rate, indifference: as in `Elimination`. on_look: called after every look.
    Raises InvalidInput for a budget below one block, NotANumber for an error that is not finite.
    """
    budget = budget or Budget()
    began = time.perf_counter() if started is None else started
    if budget.rows is not None:
        layout = within_rows(layout, budget.rows, len({member for members in hypotheses for member in members}))
    elimination = Elimination(len(hypotheses), layout, error_rate, indifference=indifference, answers=answers)
    race = Race(elimination, 0, None, {})
    row_seconds = 0.0
    while race.stopped is None:
        candidates = elimination.candidates.tolist()
        racing = sorted({member for hypothesis in candidates for member in hypotheses[hypothesis]})
        block_rows = len(racing) * layout.block_units
        blocks = _affordable(elimination, race.rows, block_rows, budget, time.perf_counter() - began, row_seconds)
        if not blocks:
            race.stopped = "budget"
            break
        visited = order[elimination.visited : elimination.visited + blocks]
        units = [unit for block in visited for unit in units_of(layout, block)]
        block_started = time.perf_counter()
        errors = await errors_of(racing, units)
        if not errors.isfinite().all():
            raise NotANumber("a denoising error is not finite", hint="try dtype=float32, or check the weights")
        row_seconds = (time.perf_counter() - block_started) / errors.numel()
        race.rows += errors.numel()
        place = {candidate: index for index, candidate in enumerate(racing)}
        by_block: NDArray[np.float64] = errors.double().numpy().reshape(len(racing), blocks, -1).mean(axis=2)
        members = [[place[member] for member in hypotheses[hypothesis]] for hypothesis in candidates]
        elimination.extend(np.stack([by_block[own].mean(axis=0) for own in members]))
        race.rows_at[elimination.visited] = race.rows
        looks = elimination.visited in layout.looks or elimination.complete
        elimination.look()
        race.stopped = _stop(elimination)
        if looks and on_look is not None:
            on_look(race)
    return race


def parse_budget(text: str | int) -> Budget:
    """A budget as people write it: 500 or "500 rows", "250 ms" or "2 s". Raises InvalidInput for anything else."""
    number, unit = str(text).strip().lower(), "rows"
    for ending in ("milliseconds", "rows", "ms", "s"):
        if number.endswith(ending):
            number, unit = number.removesuffix(ending).strip(), ending
            break
    try:
        value = int(number) if unit == "rows" else float(number)
    except ValueError:
        value = 0
    if not 0 < value < 1e12:
        raise InvalidInput(
            "budget", f"{text!r} is no budget", hint="send a value such as 500 (rows), '500 rows', '250 ms' or '2 s'"
        )
    if unit == "rows":
        return Budget(rows=int(value))
    return Budget(seconds=value if unit == "s" else value / 1000)


def _affordable(
    elimination: Elimination, spent: int, block_rows: int, budget: Budget, elapsed: float, row_seconds: float
) -> int:
    """How many blocks to visit now: up to the next look, within the budget of rows and time."""
    if elimination.decided:
        # A single label needs no comparison: one block gives its mean error.
        return 1
    blocks = elimination.next_stop() - elimination.visited
    if budget.rows is not None:
        blocks = min(blocks, (budget.rows - spent) // block_rows)
    if budget.seconds is not None:
        if not row_seconds:
            # Always one block: it measures the time of a row.
            return 1
        in_time = int((budget.seconds - elapsed) / (row_seconds * block_rows))
        blocks = min(blocks, max(1, SLICE_ROWS // block_rows), in_time)
    return max(blocks, 0)


def _stop(elimination: Elimination) -> Stop | None:
    if elimination.complete:
        return "complete"
    if elimination.indifferent:
        return "indifferent"
    return "decided" if elimination.decided else None
