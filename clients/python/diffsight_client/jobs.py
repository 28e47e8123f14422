"""A job as an object: watch it, wait for it, download its results."""

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
    """A job on the server. details: its last known state."""

    def __init__(self, client: Client, details: JobDetails) -> None:
        self._client = client
        self.details = details

    def refresh(self) -> JobDetails:
        """The current state of the job."""
        self.details = self._client.get_job(self.id)
        return self.details

    def watch(self) -> Iterator[JobAnswer | JobDetails]:
        """The job's details at each change until it is done or failed. Broken connections are opened again."""
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
        """The job's final details. Failed images are in its `failures` and do not raise.

        progress: True for a bar on standard error, or a function that gets each Step. Raises JobFailed for a job that
        fails as a whole.
        """
        report = reporter(progress)
        for state in self.watch():
            report(step_of(state))
        return self._check_end()

    def results(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """One result for each image, in the source's order, as they arrive. Raises Conflict for a job that has not
        ended.

        partial: of a running job, the results before its first unfinished image.
        """
        yield from self._lines(results_call(self.id, partial=partial))

    def failures(self, *, partial: bool = False) -> Iterator[dict[str, Any]]:
        """The names of the failed images, with the reasons."""
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
        """Pause the job. Raises Conflict if it has ended."""
        self.details = self._client.pause_job(self.id)
        return self.details

    def resume(self) -> JobDetails:
        """Continue the job. Raises Conflict if it has ended."""
        self.details = self._client.resume_job(self.id)
        return self.details

    def retry(self) -> JobDetails:
        """Process its failed images again. Raises Conflict if it has not ended."""
        self.details = self._client.retry_job(self.id)
        return self.details

    def delete(self) -> None:
        """Stop and delete the job, with its upload and its results."""
        self._client.delete_job(self.id)

    def _lines(self, call: Call[bytes]) -> Iterator[dict[str, Any]]:
        response = self._client._send(call, stream=True)
        try:
            for line in self._client._lines(response, call.path):
                if line:
                    yield json.loads(line)
        finally:
            response.close()
