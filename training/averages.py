"""Exponential moving averages of weights. The average is evaluated and exported, not the last step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """The running average of a module's parameters.

    decay: share of the old average that a step keeps. Early steps keep less, (1 + step) / (10 + step), so that the
    first random weights are forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._decay = decay
        self._averages = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Adds the module's current weights to the average. step: 0-based count of updates so far."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters()], 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """In this context the module has the averaged weights; afterwards it has its own again."""
        own = [parameter.detach().clone() for parameter in self._parameters()]
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(own)

    def copy_to_module(self) -> None:
        """Replaces the module's weights by the averages, permanently."""
        self._write(self._averages)

    def state(self) -> list[Tensor]:
        """The averages, in the order of the module's parameters."""
        return self._averages

    def load(self, averages: list[Tensor]) -> None:
        """Restores averages that `state` returned."""
        for average, saved in zip(self._averages, averages, strict=True):
            average.copy_(saved)

    def _parameters(self) -> list[nn.Parameter]:
        return list(self._module.parameters())

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters(), values, strict=True):
            parameter.copy_(value)
