"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx2

from diffsight_client.async_jobs import AsyncJob
from diffsight_client.async_operations import AsyncOperations
from diffsight_client.calls import Answer, Call, key_headers, problem_of, read_answer, request_parts, unreachable
from diffsight_client.client import LOCAL
from diffsight_client.events import EventReader, Final, Progress, cut_stream, read_event
from diffsight_client.images import Image
from diffsight_client.job_calls import begin_call
from diffsight_client.job_files import open_files
from diffsight_client.models import ModelsAnswer
from diffsight_client.progress import OnProgress, reporter
from diffsight_client.retries import Retries, Waits
from diffsight_client.tasks import AnyAnswer, task_call


class AsyncClient(AsyncOperations):
    """`Client` for asyncio: the same methods as coroutines; streams are asynchronous iterators.

    Files are read, and images packed, in the event loop's own thread: upload gigabytes in a process of its own.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: Retries | None = None,
        http: httpx2.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._own = http is None
        self._http = http or httpx2.AsyncClient(base_url=url, timeout=timeout)
        self._headers = key_headers(api_key)
        self._retries = retries or Retries()
        self._sleep = sleep
        self._models: ModelsAnswer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        if self._own:
            await self._http.aclose()

    async def run(self, task: str, images: Image | Iterable[Image] | None = None, **options: Any) -> AnyAnswer:
        """Run any task of the server, by its name in `models()`, with its options by name."""
        answer: AnyAnswer = await self._call(task_call(await self._get_models(), task, images, options))
        return answer

    async def run_file(
        self, task: str, images: Image | Iterable[Image] | None = None, *, format: str, **options: Any
    ) -> bytes:
        """Run any task and return its answer as a file in one of the task's `formats`."""
        content: bytes = await self._call(task_call(await self._get_models(), task, images, options, format=format))
        return content

    async def run_stream(
        self, task: str, images: Image | Iterable[Image] | None = None, **options: Any
    ) -> AsyncIterator[AnyAnswer]:
        """Run any task that streams: yields each improved result, then the answer."""
        call = task_call(await self._get_models(), task, images, options, stream=True)
        async for event in self._events(call, AnyAnswer):
            yield event

    async def begin_job(
        self,
        task: str,
        files: Image | Iterable[Image] | None = None,
        *,
        urls: Iterable[str] | None = None,
        source: str | None = None,
        images: str | None = None,
        stride: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        progress: bool | OnProgress = False,
    ) -> AsyncJob:
        """Begin a job, as `Client.begin_job` does."""
        begin = partial(begin_call, task, source=source, images=images, stride=stride, parameters=parameters)
        if files is None:
            return AsyncJob(self, await self._call(begin(urls=urls)))
        with open_files(files, reporter(progress)) as opened:
            return AsyncJob(self, await self._call(begin(files=opened)))

    async def job(self, job: str) -> AsyncJob:
        """A job by its id, for example one that another process created."""
        return AsyncJob(self, await self.get_job(job))

    async def _get_models(self) -> ModelsAnswer:
        if self._models is None:
            self._models = await self.models()
        return self._models

    async def _call(self, call: Call[Answer]) -> Answer:
        return read_answer(call, (await self._send(call)).content)

    async def _send(self, call: Call[Any], *, stream: bool = False) -> httpx2.Response:
        """The response, if it is a success. Raises ServerProblem, Unreachable."""
        parts, waits = request_parts(call), Waits(self._retries)
        parts["headers"] |= self._headers
        while True:
            try:
                response = await self._http.send(self._http.build_request(**parts), stream=stream)
                if response.is_success:
                    return response
                await response.aread()
            except httpx2.TransportError as error:
                raise unreachable(error, call.path) from error
            await response.aclose()
            await self._sleep(waits.after(problem_of(response)))

    async def _events(self, call: Call[Final], progress: type[Progress]) -> AsyncIterator[Progress | Final]:
        """The intermediate results as they arrive, then the answer."""
        response, reader = await self._send(call, stream=True), EventReader()
        try:
            async for line in response.aiter_lines():
                event = reader.feed(line)
                if event is None or (result := read_event(event, call, progress)) is None:
                    continue
                yield result
                if event.name == "answer":
                    return
        except httpx2.TransportError as error:
            raise unreachable(error, call.path) from error
        finally:
            await response.aclose()
        raise cut_stream(call.path)
