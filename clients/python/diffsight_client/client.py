"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx2

from diffsight_client.calls import Answer, Call, key_headers, problem_of, read_answer, request_parts, unreachable
from diffsight_client.events import EventReader, Final, Progress, cut_stream, read_event
from diffsight_client.images import Image
from diffsight_client.job_calls import begin_call
from diffsight_client.job_files import open_files
from diffsight_client.jobs import Job
from diffsight_client.models import ModelsAnswer
from diffsight_client.operations import Operations
from diffsight_client.progress import OnProgress, reporter
from diffsight_client.retries import Retries, Waits
from diffsight_client.tasks import AnyAnswer, task_call

LOCAL = "http://127.0.0.1:8000"


class Client(Operations):
    """A diffsight server, a method a task: `Client("http://127.0.0.1:8000").depth("room.jpg").to_numpy()`.

    url: of the server. api_key: where it wants one. timeout: seconds without a byte after which Unreachable is raised.
    retries: when a busy server is tried again. http: a client of httpx2 to use instead, for proxies or certificates of
    your own; `url` and `timeout` are its own then, and it stays open. sleep: (seconds), what waiting is done by.

    Every method raises ServerProblem, with the server's own words and its hint, Unreachable, and BadInput for a value
    that cannot be sent. Usable from several threads.
    """

    def __init__(
        self,
        url: str = LOCAL,
        *,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: Retries | None = None,
        http: httpx2.Client | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._own = http is None
        self._http = http or httpx2.Client(base_url=url, timeout=timeout)
        self._headers = key_headers(api_key)
        self._retries = retries or Retries()
        self._sleep = sleep
        self._models: ModelsAnswer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        if self._own:
            self._http.close()

    def run(self, task: str, images: Image | Iterable[Image] | None = None, **options: Any) -> AnyAnswer:
        """Any task of the server, by the name that `models()` lists; its options by their names."""
        answer: AnyAnswer = self._call(task_call(self._get_models(), task, images, options))
        return answer

    def run_file(
        self, task: str, images: Image | Iterable[Image] | None = None, *, format: str, **options: Any
    ) -> bytes:
        """Any task, its answer as a file in one of the task's `formats`."""
        content: bytes = self._call(task_call(self._get_models(), task, images, options, format=format))
        return content

    def run_stream(
        self, task: str, images: Image | Iterable[Image] | None = None, **options: Any
    ) -> Iterator[AnyAnswer]:
        """Any task whose answer improves with time: the result each time it does, then the answer."""
        return self._events(task_call(self._get_models(), task, images, options, stream=True), AnyAnswer)

    def begin_job(
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
    ) -> Job:
        """Begin a job: many images through one task.

        files: a folder, a zip, a video, or images; or instead
        urls: https:// addresses, where the server fetches such; or
        source: a place on the server's side, and `images`, the folder of a COCO file's images.
        stride: of a video, every so many frames. parameters: options of the task.
        progress: of the upload: True for a bar on standard error, or a function that gets each Step.
        """
        begin = partial(begin_call, task, source=source, images=images, stride=stride, parameters=parameters)
        if files is None:
            return Job(self, self._call(begin(urls=urls)))
        with open_files(files, reporter(progress)) as opened:
            return Job(self, self._call(begin(files=opened)))

    def job(self, job: str) -> Job:
        """A job by its id, such as one that another process began."""
        return Job(self, self.get_job(job))

    def _get_models(self) -> ModelsAnswer:
        if self._models is None:
            self._models = self.models()
        return self._models

    def _call(self, call: Call[Answer]) -> Answer:
        return read_answer(call, self._send(call).content)

    def _send(self, call: Call[Any], *, stream: bool = False) -> httpx2.Response:
        """The response of a success. Raises ServerProblem, Unreachable."""
        parts, waits = request_parts(call), Waits(self._retries)
        parts["headers"] |= self._headers
        while True:
            try:
                response = self._http.send(self._http.build_request(**parts), stream=stream)
                if response.is_success:
                    return response
                response.read()
            except httpx2.TransportError as error:
                raise unreachable(error, call.path) from error
            response.close()
            self._sleep(waits.after(problem_of(response)))

    def _events(self, call: Call[Final], progress: type[Progress]) -> Iterator[Progress | Final]:
        """The results so far as they come, then the answer."""
        response, reader = self._send(call, stream=True), EventReader()
        try:
            for line in self._lines(response, call.path):
                event = reader.feed(line)
                if event is None or (result := read_event(event, call, progress)) is None:
                    continue
                yield result
                if event.name == "answer":
                    return
        finally:
            response.close()
        raise cut_stream(call.path)

    def _lines(self, response: httpx2.Response, path: str) -> Iterator[str]:
        try:
            yield from response.iter_lines()
        except httpx2.TransportError as error:
            raise unreachable(error, path) from error

    def _pieces(self, response: httpx2.Response, path: str) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except httpx2.TransportError as error:
            raise unreachable(error, path) from error
