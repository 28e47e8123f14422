"""A request's view of the device: the calls of a head, whose items share batches with those of other requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from torch import Tensor

from backbones.backbone import Backbone, Description
from backbones.engine import Input, Result
from backbones.noise_schedule import content_key
from backbones.rows import Captures, UNetRow
from service.engine.caches import TensorCache
from service.engine.queue import Call, Kind, Request
from service.engine.sizes import count_bytes
from service.engine.stage_times import Interval, share_time

_STAGES: dict[Kind, str] = {"decode": "vae_decode"}


class Worker(Protocol):
    """The methods of a worker that a session calls. The methods are called on the event loop and return at once."""

    contexts: TensorCache
    latents: TensorCache
    host: ThreadPoolExecutor
    functions_on_host: bool

    def open_request(self, backbone: Backbone, task: str, *, bulk: bool, deadline: float | None) -> Request: ...
    def submit(self, request: Request, call: Call) -> None: ...
    def withdraw(self, request: Request, call: Call) -> None: ...
    def close_request(self, request: Request) -> None: ...


class Session:
    """The Engine that the head of one request uses. Leaving it as a context drops the items that still wait.

    timings: wall seconds that the head waited, by kind of call: "encode", "embed", "unet", "decode", "apply", "run" and
    "host".
    "queue" is the part of them before the device took a call's first item. Calls at the same time count each.
    rows: U-Net rows that are done.
    """

    def __init__(
        self, worker: Worker, backbone: Backbone, task: str, *, bulk: bool, deadline_seconds: float | None
    ) -> None:
        self._worker = worker
        self._backbone = backbone
        deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        self._request = worker.open_request(backbone, task, bulk=bulk, deadline=deadline)
        self.timings: dict[str, float] = {}
        self.rows = 0
        self._intervals: list[Interval] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._worker.close_request(self._request)

    def stage_seconds(self) -> dict[str, float]:
        """Wall seconds by stage, which add up: "queue" is no part of the others, and calls at the same time share it.

        The VAE's decode is "vae_decode": "decode" is that of an image file.
        """
        return share_time(self._intervals)

    @property
    def backbone(self) -> Description:
        return self._backbone.description

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._backbone.tokenize(texts)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """As `Engine.encode`, through the cache: (3, H, W) float in [-1, 1] each -> (C, H/8, W/8)."""
        revision = self.backbone.revision
        keys = await self.run_on_host(lambda: [(revision, content_key(pixels)) for pixels in pixel_values])
        return await self._call_cached("encode", self._worker.latents, keys, pixel_values)

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """As `Engine.embed`, through the cache: (T, D) each."""
        revision = self.backbone.revision
        return await self._call_cached("embed", self._worker.contexts, [(revision, text) for text in texts], texts)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        for row in rows:
            self._backbone.check(row)
        captures: list[Captures] = await self._call("unet", rows)
        self.rows += len(rows)
        return captures

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """As `Engine.decode`: (C, h, w) each -> (3, 8h, 8w)."""
        return await self._call("decode", latents)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        if self._worker.functions_on_host:
            return await self._run_on_host("run", function, *arguments)
        results = await self._call("run", [partial(function, *arguments)])
        result: Result = results[0]
        return result

    async def apply(
        self, network: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
    ) -> list[Result]:
        return await self._call("apply", inputs, network=network)

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await self._run_on_host("host", function, *arguments)

    async def _run_on_host(self, kind: str, function: Callable[..., Result], *arguments: Any) -> Result:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._worker.host, partial(function, *arguments))
        self._intervals.append((kind, started, self._add_time(kind, started)))
        return result

    async def _call_cached(
        self, kind: Kind, cache: TensorCache, keys: Sequence[Any], items: Sequence[Any]
    ) -> list[Tensor]:
        """Results from the cache by key, the missing ones from one call with each key once."""
        results = {key: result for key in keys if (result := cache.get(key)) is not None}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in results}
        if missing:
            results.update(zip(missing, await self._call(kind, list(missing.values())), strict=True))
            for key in missing:
                cache.put(key, results[key])
        return [results[key] for key in keys]

    async def _call(self, kind: Kind, items: Sequence[Any], network: Any = None) -> list[Any]:
        if not items:
            return []
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        answer = partial(_resolve_on_loop, loop, future)
        call = Call(kind, items, answer, network=network, item_bytes=count_bytes(items) / len(items))
        self._worker.submit(self._request, call)
        try:
            return await future
        finally:
            if not future.done() or future.cancelled():
                self._worker.withdraw(self._request, call)
            ended = self._add_time(kind, started)
            taken = call.taken_at or ended
            self.timings["queue"] = self.timings.get("queue", 0.0) + taken - started
            self._intervals += [("queue", started, taken), (_STAGES.get(kind, kind), taken, ended)]

    def _add_time(self, kind: str, started: float) -> float:
        """Count a call of this kind that ends now; returns when."""
        ended = time.perf_counter()
        self.timings[kind] = self.timings.get(kind, 0.0) + ended - started
        return ended


def _resolve_on_loop(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[Any]], answer: list[Any] | BaseException
) -> None:
    """Carry an answer from the worker's thread to the caller's loop. Does nothing if the loop is closed."""

    def resolve() -> None:
        if future.cancelled():
            return
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)
