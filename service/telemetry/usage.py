"""What one request has used so far: seconds by stage, U-Net rows, and where its trace is."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.telemetry.tracing import RequestTrace


@dataclass(slots=True)
class Usage:
    """Filled while the work goes on, so that a request that fails tells too where its time went.

    timings: wall seconds by stage. rows: U-Net rows done for it. labels: how many the request brings.
    """

    timings: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    labels: int = 0
    trace: RequestTrace | None = None

    def round_seconds(self) -> dict[str, float]:
        """The seconds by stage, to microseconds."""
        return {stage: round(seconds, 6) for stage, seconds in self.timings.items()}
