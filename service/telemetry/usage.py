"""The resources of one request so far: seconds by stage, U-Net rows, and its trace."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.telemetry.tracing import RequestTrace


@dataclass(slots=True)
class Usage:
    """Filled while the work runs, so that a failed request has its times too.

    timings: wall seconds by stage. rows: finished U-Net rows. labels: number of labels in the request.
    """

    timings: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    labels: int = 0
    trace: RequestTrace | None = None

    def round_seconds(self) -> dict[str, float]:
        """The seconds by stage, to microseconds."""
        return {stage: round(seconds, 6) for stage, seconds in self.timings.items()}
