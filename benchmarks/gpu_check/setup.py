"""What every step of the check shares: where and how large, and how a rate is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tests.service.models.small_catalogue import FULL, SMALL, Sizes


@dataclass(frozen=True, slots=True)
class Setup:
    """device: of torch. small: small networks and few repetitions, to try the check without a GPU."""

    device: str
    small: bool = False

    @property
    def sizes(self) -> Sizes:
        return SMALL if self.small else FULL

    @property
    def batches(self) -> tuple[int, ...]:
        return (1, 2) if self.small else (1, 8, 32)

    @property
    def dtype(self) -> torch.dtype:
        """The number type of what is timed: bfloat16, as `dtype=auto` takes on CUDA."""
        return torch.float32 if self.small else torch.bfloat16

    @property
    def seconds(self) -> float:
        """How long one rate is measured."""
        return 0.01 if self.small else 1.0

    @property
    def on_cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def rate(self, function: Callable[[], object], items: int) -> float:
        """Items a second of a function that does so many: once to warm up, then for `seconds`, at least twice."""
        function()
        self.synchronize()
        started, rounds = time.perf_counter(), 0
        while rounds < 2 or time.perf_counter() - started < self.seconds:
            function()
            # So that what waits for the device never grows by more than one call.
            self.synchronize()
            rounds += 1
        return items * rounds / (time.perf_counter() - started)

    def peak_gigabytes(self, function: Callable[[], object]) -> float | None:
        """Memory that a call takes beside what is held already; None where the device does not count it."""
        if not self.on_cuda:
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
