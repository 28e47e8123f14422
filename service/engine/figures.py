"""The engine's counters, and a consistent reading of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.engine.caches import CacheFigures
from service.engine.queue import Kind


@dataclass(frozen=True, slots=True)
class RanBatch:
    """A batch, or a function, that has run.

    tasks: of each item. started: by `time.perf_counter`. lane: the name of the thread that ran it.
    """

    kind: Kind
    tasks: tuple[str, ...]
    started: float
    seconds: float
    lane: str

    @property
    def size(self) -> int:
        """Items."""
        return len(self.tasks)


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """The engine's state now, and its counts since the start. Rows are U-Net rows; seconds are of the device."""

    waiting_rows: int
    running_rows: int
    requests_open: int
    batches_total: int
    rows_total: int
    rows_by_task: dict[str, int]
    device_seconds_total: float
    cancelled_rows_total: int
    rejected_total: int
    out_of_memory_total: int
    contexts_cache: CacheFigures
    latents_cache: CacheFigures


@dataclass(slots=True)
class EngineCounts:
    """The worker's counters. items_per_second: the moving average of U-Net rows, which tells how long a queue takes."""

    running: int = 0
    batches: int = 0
    rows_by_task: dict[str, int] = field(default_factory=dict)
    device_seconds: float = 0.0
    items_per_second: float = 100.0
    cancelled: int = 0
    rejected: int = 0
    out_of_memory: int = 0

    def count_batch(self, batch: RanBatch) -> None:
        """Count a finished batch."""
        self.device_seconds += batch.seconds
        if batch.kind != "unet":
            return
        self.batches += 1
        for task in batch.tasks:
            self.rows_by_task[task] = self.rows_by_task.get(task, 0) + 1
        self.items_per_second += 0.1 * (batch.size / max(batch.seconds, 1e-6) - self.items_per_second)

    def read(
        self, *, waiting: int, requests_open: int, contexts_cache: CacheFigures, latents_cache: CacheFigures
    ) -> EngineFigures:
        """The counts together with the state of the queue and of the caches."""
        return EngineFigures(
            waiting_rows=waiting,
            running_rows=self.running,
            requests_open=requests_open,
            batches_total=self.batches,
            rows_total=sum(self.rows_by_task.values()),
            rows_by_task=dict(self.rows_by_task),
            device_seconds_total=self.device_seconds,
            cancelled_rows_total=self.cancelled,
            rejected_total=self.rejected,
            out_of_memory_total=self.out_of_memory,
            contexts_cache=contexts_cache,
            latents_cache=latents_cache,
        )
