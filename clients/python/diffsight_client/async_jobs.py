"""A job as an object with asynchronous methods."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from diffsight_client.calls import Call, unreachable
from diffsight_client.errors import Unreachable
from diffsight_client.job_calls import JobState, Reconnections, events_call, results_call, step_of
from diffsight_client.job_files import written_file
from diffsight_client.models import JobAnswer, JobDetails
from diffsight_client.progress import OnProgress, Step, reporter

if TYPE_CHECKING:
    from diffsight_client.async_client import AsyncClient


class AsyncJob(JobState):
    """A job on the server, like `Job`. details: its last known state."""

    def __init__(self, client: AsyncClient, details: JobDetails) -> None:
        self._client = client
        self.details = details

    async def refresh(self) -> JobDetails:
        """The current state of the job."""
        self.details = await self._client.get_job(self.id)
        return self.details

    async def watch(self) -> AsyncIterator[JobAnswer | JobDetails]:
        """The job's details at each change until it is done or failed. Broken connections are opened again."""
        broken = Reconnections()
        while True:
            try:
                async for event in self._client._events(events_call(self.id), JobAnswer):
                    broken.count = 0
                    yield event
                    if isinstance(event, JobDetails):
                        self.details = event
                        return
            except Unreachable as error:
                await self._client._sleep(broken.after(error))

    async def wait(self, *, progress: bool | OnProgress = False) -> JobDetails:
        """The job's final details, as in `Job.wait`. Raises JobFailed for a job that fails as a whole."""
        report = reporter(progress)
        async for state in self.watch():
            report(step_of(state))
        return self._check_end()

    async def results(self, *, partial: bool = False) -> AsyncIterator[dict[str, Any]]:
        """One result for each image, in the source's order, as they arrive. Raises Conflict for a job that has not
        ended.
        """
        async for line in self._lines(results_call(self.id, partial=partial)):
            yield line

    async def failures(self, *, partial: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The names of the failed images, with the reasons."""
        async for line in self._lines(results_call(self.id, failed=True, partial=partial)):
            yield line

    async def download(
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
            response = await self._client._send(call, stream=True)
            try:
                async for piece in response.aiter_bytes():
                    done += file.write(piece)
                    report(Step("download", done, None))
            except httpx2.TransportError as error:
                raise unreachable(error, call.path) from error
            finally:
                await response.aclose()
        report(Step("download", done, done))
        return target

    async def pause(self) -> JobDetails:
        """Pause the job. Raises Conflict if it has ended."""
        self.details = await self._client.pause_job(self.id)
        return self.details

    async def resume(self) -> JobDetails:
        """Continue the job. Raises Conflict if it has ended."""
        self.details = await self._client.resume_job(self.id)
        return self.details

    async def retry(self) -> JobDetails:
        """Process its failed images again. Raises Conflict if it has not ended."""
        self.details = await self._client.retry_job(self.id)
        return self.details

    async def delete(self) -> None:
        """Stop and delete the job, with its upload and its results."""
        await self._client.delete_job(self.id)

    async def _lines(self, call: Call[bytes]) -> AsyncIterator[dict[str, Any]]:
        response = await self._client._send(call, stream=True)
        try:
            async for line in response.aiter_lines():
                if line:
                    yield json.loads(line)
        except httpx2.TransportError as error:
            raise unreachable(error, call.path) from error
        finally:
            await response.aclose()
