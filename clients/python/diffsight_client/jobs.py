"""A job as an object: watch it, wait for it, fetch what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsight_client.calls import Call
from diffsight_client.errors import Unreachable
from diffsight_client.job_calls import JobState, Reconnections, events_call, results_call, step_of
from diffsight_client.job_files import written_file
from diffsight_client.models import JobAnswer, JobDetails
from diffsight_client.progress import OnProgress, Step, reporter

if TYPE_CHECKING:
    from diffsight_client.client import Client


class Job(JobState):
    """A job on the server. details: as it was last seen."""

    def __init__(self, client: Client, details: JobDetails) -> None:
        self._client = client
        self.details = details

    def refresh(self) -> JobDetails:
        """The current state of the job."""
        self.details = self._client.get_job(self.id)
        return self.details

    def watch(self) -> Iterator[JobAnswer | JobDetails]:
        """The job with each change until it is done or failed, its details last. Broken connections are made again."""
        broken = Reconnections()
        while True:
            try:
                for event in self._client._events(events_call(self.id), JobAnswer):
                    broken.count = 0
                    yield event
                    if isinstance(event, JobDetails):
                        self.details = event
                        return
            except Unreachable as error:
                self._client._sleep(broken.after(error))

    def wait(self, *, progress: bool | OnProgress = False) -> JobDetails:
        """The job at its end. Images that failed are in its `failures` and do not raise.

        progress: True for a bar on standard error, or a function that gets each Step.
        Raises JobFailed for a job that is wrong as a whole.
        """
        report = reporter(progress)
        for state in self.watch():
            report(step_of(state))
        return self._check_end()

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
        call = results_call(self.id, format=format, partial=partial)
        with written_file(target) as file:
            response = self._client._send(call, stream=True)
            try:
                for piece in self._client._pieces(response, call.path):
                    done += file.write(piece)
                    report(Step("download", done, None))
            finally:
                response.close()
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
