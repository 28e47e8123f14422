"""The synchronous client."""

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
    """A diffsight server, with a method for each task: `Client("http://127.0.0.1:8000").depth("room.jpg").to_numpy()`.

    url: of the server. api_key: if the server needs one. timeout: seconds without a byte after which Unreachable is
    raised. retries: when the client repeats a request to a busy server. http: a client of httpx2 to use instead, for
    your own proxies or certificates; its own URL and timeout apply, and it stays open. sleep: (seconds), the function
    that waits.

    Every method raises ServerProblem, with the server's message and hint, Unreachable, and BadInput for a value that
    cannot be sent. Several threads may use one client.
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
        """Run any task of the server, by its name in `models()`, with its options by name."""
        answer: AnyAnswer = self._call(task_call(self._get_models(), task, images, options))
        return answer

    def run_file(
        self, task: str, images: Image | Iterable[Image] | None = None, *, format: str, **options: Any
    ) -> bytes:
        """Run any task and return its answer as a file in one of the task's `formats`."""
        content: bytes = self._call(task_call(self._get_models(), task, images, options, format=format))
        return content

    def run_stream(
        self, task: str, images: Image | Iterable[Image] | None = None, **options: Any
    ) -> Iterator[AnyAnswer]:
        """Run any task that streams: yields each improved result, then the answer."""
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
        """Begin a job: one task on many images.

        files: a folder, a zip, a video, or images. Instead of files, urls: https:// URLs, if the server downloads
        images; or source: a path on the server, and `images`, the folder of a COCO file's images. stride: use every so
        many frames of a video. parameters: options of the task. progress: of the upload: True for a bar on standard
        error, or a function that gets each Step.
        """
        begin = partial(begin_call, task, source=source, images=images, stride=stride, parameters=parameters)
        if files is None:
            return Job(self, self._call(begin(urls=urls)))
        with open_files(files, reporter(progress)) as opened:
            return Job(self, self._call(begin(files=opened)))

    def job(self, job: str) -> Job:
        """A job by its id, for example one that another process created."""
        return Job(self, self.get_job(job))

    def _get_models(self) -> ModelsAnswer:
        if self._models is None:
            self._models = self.models()
        return self._models

    def _call(self, call: Call[Answer]) -> Answer:
        return read_answer(call, self._send(call).content)

    def _send(self, call: Call[Any], *, stream: bool = False) -> httpx2.Response:
        """The response, if it is a success. Raises ServerProblem, Unreachable."""
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
        """The intermediate results as they arrive, then the answer."""
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
