"""Drops candidates of a race: paired tests on blocks drawn without replacement, at a level corrected for all tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from heads.diffusion_classifier.units import Layout

# Equal rows of two batches differ by rounding of about 4e-7; closer means count as equal.
TIE = 1e-7


@dataclass(frozen=True, slots=True)
class Drop:
    """A hypothesis that left the race.

    by: the hypothesis that beat it. blocks: visited until then. p_value: one-sided.
    """

    hypothesis: int
    by: int
    blocks: int
    p_value: float


class Elimination:
    """The state of one race over a finite population of blocks.

    hypotheses: how many start. error_rate: probability over the order of blocks with which the answer may differ from
    that of all hypotheses on all blocks; 0 drops none and is exact. indifference: a mean error by which an answer may
    be worse than the best one. answers: the answer that each hypothesis belongs to; the race ends when one answer is
    left.

    A hypothesis is dropped at a look when its paired difference to the leader is beyond the Student quantile of
    error_rate / ((hypotheses - 1) * looks), its standard error corrected for the finite population. The answer can only
    be wrong where the best hypothesis was dropped by one of its rivals at one of the looks; the level is shared out
    among all of those, so which of them leads may be read from the data.
    Source: section "The race" of docs/zero-shot.md; successive elimination by paired tests is Clark and Jaini's
    (arXiv:2303.15233), without their fixed cut-off.
    """

    def __init__(
        self,
        hypotheses: int,
        layout: Layout,
        error_rate: float,
        *,
        indifference: float = 0.0,
        answers: Sequence[int] | None = None,
    ) -> None:
        self.layout = layout
        self.error_rate = error_rate
        self.indifference = indifference
        self.answers = np.arange(hypotheses) if answers is None else np.asarray(answers)
        self.candidates = np.arange(hypotheses)
        self.drops: list[Drop] = []
        self.visited = 0
        self.indifferent = False
        self.block_means: NDArray[np.float64] = np.full((hypotheses, layout.blocks), np.nan)
        """(hypotheses, blocks) in the order of visiting; NaN if a hypothesis was no longer in the race."""
        self._p_values: NDArray[np.float64] = np.ones(hypotheses)
        self._tests = max(1, hypotheses - 1) * max(1, len(layout.looks))

    @property
    def complete(self) -> bool:
        """Whether all blocks were visited."""
        return self.visited == self.layout.blocks

    @property
    def decided(self) -> bool:
        """Whether one answer is left, or the answers left count as equal."""
        return self.indifferent or len(set(self.answers[self.candidates].tolist())) == 1

    @property
    def leader(self) -> int:
        """The candidate with the smallest mean error."""
        return int(self.candidates[self._get_visited_errors().mean(axis=1).argmin()])

    def next_stop(self) -> int:
        """How many blocks must have been visited at the next look, or at the end."""
        return next((look for look in self.layout.looks if look > self.visited), self.layout.blocks)

    def extend(self, means: NDArray[np.float64]) -> None:
        """Add visited blocks. means: (N, blocks) float64, each candidate's mean error over a block's units."""
        added = means.shape[1]
        self.block_means[self.candidates, self.visited : self.visited + added] = means
        self.visited += added

    def look(self) -> None:
        """Drop candidates that are significantly worse. Does nothing between the looks of the layout, which are fixed
        in advance.
        """
        if self.complete:
            self._look_at_all()
        elif self.visited in self.layout.looks:
            self._look_at_sample()

    def gaps(self) -> NDArray[np.float64]:
        """How much worse each hypothesis is than the leader over the blocks that both have, (hypotheses,), at least 0.

        One that was dropped early by another may beat the leader on those few blocks; the answer stays the race's.
        """
        differences = self.block_means - self.block_means[self.leader]
        gaps: NDArray[np.float64] = np.maximum(np.nanmean(differences[:, : self.visited], axis=1), 0.0)
        return gaps

    def mean_errors(self) -> NDArray[np.float64]:
        """Each hypothesis's mean error over the blocks that it has, (hypotheses,)."""
        means: NDArray[np.float64] = np.nanmean(self.block_means[:, : self.visited], axis=1)
        return means

    def find_tied(self) -> list[int]:
        """Candidates that count as equal to the leader: over all blocks, or within the requested indifference."""
        if not (self.complete or self.indifferent):
            return []
        means, leader = self._get_visited_errors().mean(axis=1), self.leader
        near = self.candidates[means - means.min() <= TIE] if self.complete else self.candidates
        return [int(candidate) for candidate in near if candidate != leader]

    def confidence(self) -> float:
        """1 minus the level at which the race could have stopped here with the leader as its answer, 0 to 1.

        By the same sharing out of the level, wrong answers that carry a confidence of 1 - delta or more have a
        probability of about delta at most. It is 1 after all blocks only if no candidate was dropped before.
        """
        rivals = self.answers != self.answers[self.leader]
        if not rivals.any():
            return 1.0
        return float(1.0 - min(1.0, self._tests * self._p_values[rivals].max()))

    def _get_visited_errors(self) -> NDArray[np.float64]:
        return self.block_means[self.candidates, : self.visited]

    def _look_at_sample(self) -> None:
        seen, candidates, leader, count = self._get_visited_errors(), self.candidates, self.leader, self.visited
        differences = seen - self.block_means[leader, :count]
        mean = differences.mean(axis=1)
        error = differences.std(axis=1, ddof=1) * np.sqrt((1 - count / self.layout.blocks) / count)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = mean / error
        # The leader itself, and any candidate that equals it in every block, gives 0 / 0: it is never significantly
        # worse.
        statistic[np.isnan(statistic)] = -np.inf
        p_values = stdtr(count - 1, -statistic)  # the upper tail of Student's t
        beaten = (p_values <= self.error_rate / self._tests) & (candidates != leader) & (self.error_rate > 0)
        self._settle(p_values, beaten, leader)
        if self.indifference > 0 and self.error_rate > 0:
            rivals = ~beaten & (candidates != leader)
            bound = -stdtrit(count - 1, self.error_rate / self._tests) * error - mean
            self.indifferent = bool(rivals.any() and (bound[rivals] <= self.indifference).all())

    def _look_at_all(self) -> None:
        means, leader = self._get_visited_errors().mean(axis=1), self.leader
        others = self.candidates != leader
        self._settle(np.where(others, 0.0, 1.0), others & (means - means.min() > TIE), leader)

    def _settle(self, p_values: NDArray[np.float64], beaten: NDArray[np.bool_], leader: int) -> None:
        self._p_values[self.candidates] = np.minimum(self._p_values[self.candidates], p_values)
        for hypothesis, p_value in zip(self.candidates[beaten].tolist(), p_values[beaten].tolist(), strict=True):
            self.drops.append(Drop(hypothesis, leader, self.visited, p_value))
        self.candidates = self.candidates[~beaten]
