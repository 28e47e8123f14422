"""The parts of a job that both clients share: its calls, its progress, and the retries of broken connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffsight_client.calls import ANY, EVENTS, Call
from diffsight_client.errors import ClientError, Unreachable
from diffsight_client.job_files import CountedFile
from diffsight_client.models import JobAnswer, JobDetails
from diffsight_client.progress import Step

RECONNECTIONS = 8
"""How many times in a row a job's events are requested again if none arrives."""


class JobFailed(ClientError):
    """A job failed as a whole. details: its final state."""

    def __init__(self, details: JobDetails) -> None:
        self.details = details
        super().__init__(f"the job {details.id} failed: {details.error}; `retry()` tries again what has no result")


class JobState:
    """A job on the server. details: its last known state."""

    details: JobDetails

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.details.task!r}, {self.details.status!r})"

    @property
    def id(self) -> str:
        """Its id; `job` of a client opens the job by it, also in another process."""
        return self.details.id

    def _check_end(self) -> JobDetails:
        """The details of a job that has ended. Raises JobFailed for a job that failed as a whole."""
        if self.details.status == "failed":
            raise JobFailed(self.details)
        return self.details


@dataclass(slots=True)
class Reconnections:
    """The successive broken connections of one watch; an event that arrives resets `count` to 0."""

    count: int = 0

    def after(self, error: Unreachable) -> float:
        """Seconds to wait before the events are requested again. Raises the error if they should not be."""
        self.count += 1
        if self.count > RECONNECTIONS:
            raise error
        return min(0.5 * float(2**self.count), 15.0)


def begin_call(
    task: str,
    *,
    source: str | None,
    images: str | None,
    stride: int | None,
    parameters: Mapping[str, Any] | None,
    urls: Iterable[str] | None = None,
    files: Sequence[tuple[str, CountedFile]] = (),
) -> Call[JobDetails]:
    """The call that begins a job: with files as a form, else as JSON."""
    options = {"task": task, "source": source, "images": images, "stride": stride, "parameters": parameters}
    addresses = {} if urls is None else {"urls": list(urls)}
    return Call("POST", "/v1/jobs", JobDetails.model_validate_json, options=options | addresses, files=files)


def events_call(job_id: str) -> Call[JobDetails]:
    """The call for a job's events."""
    return Call("GET", f"/v1/jobs/{job_id}/events", JobDetails.model_validate_json, accept=EVENTS)


def results_call(job_id: str, *, format: str = "jsonl", failed: bool = False, partial: bool = False) -> Call[bytes]:
    """The call for a job's results."""
    query = {"format": None if failed else format, "status": "failed" if failed else None, "partial": partial or None}
    return Call("GET", f"/v1/jobs/{job_id}/results", bytes, query=query, accept=ANY)


def step_of(job: JobAnswer | JobDetails) -> Step:
    """The progress of a job."""
    rate = f"{job.images_per_second:.1f} a second" if job.images_per_second else ""
    left = f"{job.seconds_left:.0f} s left" if job.seconds_left is not None else ""
    failed = f"{job.failed:,} failed" if job.failed else ""
    paused = job.status if job.status in ("paused", "failed") else ""
    text = ", ".join(part for part in (paused, rate, left, failed) if part)
    return Step("wait", job.done + job.failed, job.total, text)
