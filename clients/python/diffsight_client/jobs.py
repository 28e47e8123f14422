"""A job as an object: watch it, wait for it, fetch what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsight_client.calls import ANY, EVENTS, Call
from diffsight_client.errors import ClientError, Unreachable
from diffsight_client.job_files import CountedFile
from diffsight_client.models import JobAnswer, JobDetails
from diffsight_client.progress import OnProgress, Step, reporter

if TYPE_CHECKING:
    from diffsight_client.client import Client

RECONNECTIONS = 8
"""How often in a row a job's events are asked for again without one that arrives."""


class JobFailed(ClientError):
    """A job ended as a whole. details: as it stands."""

    def __init__(self, details: JobDetails) -> None:
        self.details = details
        super().__init__(f"the job {details.id} failed: {details.error}; `retry()` tries again what has no result")


def begin_call(
    options: Mapping[str, Any], *, urls: Iterable[str] | None = None, files: Sequence[tuple[str, CountedFile]] = ()
) -> Call[JobDetails]:
    """The call that begins a job: with files as a form, else as JSON."""
    addresses = {} if urls is None else {"urls": list(urls)}
    return Call("POST", "/v1/jobs", JobDetails.model_validate_json, options={**options, **addresses}, files=files)


def events_call(job_id: str) -> Call[JobDetails]:
    """The call for a job's events."""
    return Call("GET", f"/v1/jobs/{job_id}/events", JobDetails.model_validate_json, accept=EVENTS)


def results_call(job_id: str, *, format: str = "jsonl", failed: bool = False, partial: bool = False) -> Call[bytes]:
    """The call for a job's results."""
    query = {"format": None if failed else format, "status": "failed" if failed else None, "partial": partial or None}
    return Call("GET", f"/v1/jobs/{job_id}/results", bytes, query=query, accept=ANY)


def step_of(job: JobAnswer | JobDetails) -> Step:
    """How far a job is."""
    rate = f"{job.images_per_second:.1f} a second" if job.images_per_second else ""
    left = f"{job.seconds_left:.0f} s left" if job.seconds_left is not None else ""
    failed = f"{job.failed:,} failed" if job.failed else ""
    paused = job.status if job.status in ("paused", "failed") else ""
    text = ", ".join(part for part in (paused, rate, left, failed) if part)
    return Step("wait", job.done + job.failed, job.total, text)


def pause_before(attempt: int) -> float:
    """Seconds before a broken connection is tried again."""
    return min(0.5 * float(2**attempt), 15.0)


class Job:
    """A job on the server. details: as it was last seen."""

    def __init__(self, client: Client, details: JobDetails) -> None:
        self._client = client
        self.details = details

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.details.task!r}, {self.details.status!r})"

    @property
    def id(self) -> str:
        """Its id, with which `Client.job` finds it again, in another process too."""
        return self.details.id

    def refresh(self) -> JobDetails:
        """The job as it stands now."""
        self.details = self._client.get_job(self.id)
        return self.details

    def watch(self) -> Iterator[JobAnswer | JobDetails]:
        """The job with each change until it is done or failed, its details last. Broken connections are made again."""
        attempt = 0
        while True:
            try:
                for event in self._client._events(events_call(self.id), JobAnswer):
                    attempt = 0
                    yield event
                    if isinstance(event, JobDetails):
                        self.details = event
                        return
            except Unreachable:
                attempt += 1
                if attempt > RECONNECTIONS:
                    raise
                self._client._sleep(pause_before(attempt))

    def wait(self, *, progress: bool | OnProgress = False) -> JobDetails:
        """The job at its end. Images that failed are in its `failures` and do not raise.

        progress: True for a bar on standard error, or a function that gets each Step.
        Raises JobFailed for a job that is wrong as a whole.
        """
        report = reporter(progress)
        for state in self.watch():
            report(step_of(state))
        if self.details.status == "failed":
            raise JobFailed(self.details)
        return self.details

    def results(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """One result an image, in the source's order, as they arrive. Raises Conflict for a job that has not ended.

        partial: of a job under way, the results before its first unfinished image.
        """
        yield from self._lines(results_call(self.id, partial=partial))

    def failures(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """The names and reasons of the images that failed."""
        yield from self._lines(results_call(self.id, failed=True, partial=partial))

    def download(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "jsonl",
        partial: bool = False,
        progress: bool | OnProgress = False,
    ) -> Path:
        """The results as a file in one of the job's `formats`; it appears at `path` when it is complete."""
        report, target, done = reporter(progress), Path(path), 0
        unfinished = target.with_name(f"{target.name}.part")
        response = self._client._send(results_call(self.id, format=format, partial=partial), stream=True)
        try:
            with unfinished.open("wb") as file:
                for piece in self._client._pieces(response, f"/v1/jobs/{self.id}/results"):
                    done += file.write(piece)
                    report(Step("download", done, None))
            os.replace(unfinished, target)
        finally:
            response.close()
            unfinished.unlink(missing_ok=True)
        report(Step("download", done, done))
        return target

    def pause(self) -> JobDetails:
        """Let it rest. Raises Conflict for one that has ended."""
        self.details = self._client.pause_job(self.id)
        return self.details

    def resume(self) -> JobDetails:
        """Let it go on. Raises Conflict for one that has ended."""
        self.details = self._client.resume_job(self.id)
        return self.details

    def retry(self) -> JobDetails:
        """Try its failed images again. Raises Conflict for one that has not ended."""
        self.details = self._client.retry_job(self.id)
        return self.details

    def delete(self) -> None:
        """Stop it, and forget it with its upload and its results."""
        self._client.delete_job(self.id)

    def _lines(self, call: Call[bytes]) -> Iterator[dict[str, Any]]:
        response = self._client._send(call, stream=True)
        try:
            for line in self._client._lines(response, call.path):
                if line:
                    yield json.loads(line)
        finally:
            response.close()
