"""The device's one worker: turns what waits into batches, one turn after the other, and carries the answers back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch import Tensor

from backbones.backbone import Backbone, Description
from backbones.engine import Result
from backbones.errors import Cancelled, DeadlinePassed, NotANumber
from backbones.noise_schedule import content_key
from backbones.rows import Captures, UNetRow
from service.engine.batching import Entry, choose_batch
from service.engine.caches import CacheFigures, TensorCache
from service.engine.waiting import Asking, Kind, Request, WaitingLine

Item = TypeVar("Item")

# After so many batches in a row without a bulk row, bulk leads one.
BULK_TURN = 8


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """The engine's state now, and its counts since the start. Rows are U-Net rows; seconds are of the device."""

    waiting_rows: int
    running_rows: int
    requests_open: int
    batches_total: int
    rows_total: int
    rows_by_task: dict[str, int]
    device_seconds_total: float
    cancelled_rows_total: int
    rejected_total: int
    out_of_memory_total: int
    contexts_cache: CacheFigures
    latents_cache: CacheFigures


class RowEngine:
    """Batches everybody's work on one backbone.

    model: what runs the batches. max_batch_rows: the largest U-Net batch; halved for good when memory runs out.
    max_batch_images: the largest batch of encodes or decodes, which need far more memory an item.
    max_waiting_rows: a newcomer that finds so much waiting gets Overloaded.
    context_cache_bytes, latent_cache_bytes: what text contexts and image latents may hold of the device's memory.

    `step` does one turn and knows no thread, so that a test can drive it by hand; `start` has a thread repeat it. It
    never waits for a fuller batch: an idle device takes what is there.
    """

    def __init__(
        self,
        model: Backbone,
        *,
        max_batch_rows: int = 32,
        max_batch_images: int = 8,
        max_waiting_rows: int = 65536,
        context_cache_bytes: int = 64 << 20,
        latent_cache_bytes: int = 64 << 20,
    ) -> None:
        self.model = model
        self.contexts = TensorCache(context_cache_bytes)
        self.latents = TensorCache(latent_cache_bytes)
        self.on_batch: Callable[[str, int, float], None] | None = None
        self.host = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="host")
        self._limits: dict[Kind, int] = {
            "unet": max_batch_rows,
            "encode": max_batch_images,
            "decode": max_batch_images,
            "embed": max_batch_rows,
            "run": 1,
        }
        self._line = WaitingLine(max_waiting_rows)
        self._something_waits = Condition()
        self._thread: Thread | None = None
        self._stopping = False
        self._batches_since_bulk = 0
        self._running = 0
        self._batches = 0
        self._rows_by_task: dict[str, int] = {}
        self._device_seconds = 0.0
        self._items_per_second = 100.0
        self._cancelled = 0
        self._rejected = 0
        self._out_of_memory = 0

    def start(self) -> None:
        """Start the worker thread."""
        self._stopping = False
        self._thread = Thread(target=self._repeat, name="device", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch that runs, answer everything that waits with Cancelled, and end the threads."""
        with self._something_waits:
            self._stopping = True
            self._something_waits.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._something_waits:
            for request in tuple(self._line.requests.values()):
                self._fail(request, Cancelled("the server is stopping", hint="ask again when it is back"))
        self.host.shutdown(cancel_futures=True)

    def request(self, task: str, *, bulk: bool = False, deadline_seconds: float | None = None) -> RequestEngine:
        """A caller's own view of this engine, used as a context: leaving it drops what still waits.

        task: what rows are counted under. bulk: whether interactive requests go before it.
        """
        return RequestEngine(self, task, bulk=bulk, deadline_seconds=deadline_seconds)

    def step(self) -> int:
        """One turn: choose a batch, run it, answer. Returns how many items it did, 0 when nothing waits."""
        with self._something_waits:
            for request in self._line.late(time.monotonic()):
                self._fail(request, DeadlinePassed("the request's deadline passed while its work waited"))
            bulk_first = self._batches_since_bulk >= BULK_TURN and any(r.bulk for r in self._line.in_line())
            batch = choose_batch(self._line.in_line(), self._limits, bulk_first=bulk_first)
            if not batch:
                return 0
            chosen_at = time.perf_counter()
            for entry in batch:
                self._line.take(entry.request, entry.asking)
                if entry.asking.taken_at is None:
                    entry.asking.taken_at = chosen_at
            self._batches_since_bulk = 0 if any(e.request.bulk for e in batch) else self._batches_since_bulk + 1
            self._running = len(batch)
        kind = batch[0].asking.kind
        started = time.perf_counter()
        outcomes = self._outcomes(self._function(kind), [entry.item for entry in batch], kind)
        seconds = time.perf_counter() - started
        with self._something_waits:
            self._count(kind, batch, seconds)
            for entry, outcome in zip(batch, outcomes, strict=True):
                self._settle(entry, outcome)
        if self.on_batch is not None:
            self.on_batch(kind, len(batch), seconds)
        return len(batch)

    @property
    def alive(self) -> bool:
        """Whether the worker thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def figures(self) -> EngineFigures:
        """A consistent reading of state and counts."""
        with self._something_waits:
            return EngineFigures(
                waiting_rows=self._line.waiting,
                running_rows=self._running,
                requests_open=len(self._line.requests),
                batches_total=self._batches,
                rows_total=sum(self._rows_by_task.values()),
                rows_by_task=dict(self._rows_by_task),
                device_seconds_total=self._device_seconds,
                cancelled_rows_total=self._cancelled,
                rejected_total=self._rejected,
                out_of_memory_total=self._out_of_memory,
                contexts_cache=self.contexts.figures(),
                latents_cache=self.latents.figures(),
            )

    def _repeat(self) -> None:
        while True:
            with self._something_waits:
                self._something_waits.wait_for(lambda: self._stopping or self._line.waiting)
                if self._stopping:
                    return
            self.step()

    def _function(self, kind: Kind) -> Callable[[Sequence[Any]], list[Any]]:
        functions: dict[Kind, Callable[[Sequence[Any]], list[Any]]] = {
            "unet": self.model.forward,
            "encode": self.model.encode,
            "embed": self._embed_each_text_once,
            "decode": self.model.decode,
            "run": lambda calls: [call() for call in calls],
        }
        return functions[kind]

    def _embed_each_text_once(self, texts: Sequence[str]) -> list[Tensor]:
        """Contexts of a batch in which several requests may have asked for the same text, or got it meanwhile."""
        held = {text: self.contexts.get(text, counted=False) for text in texts}
        contexts = {text: context for text, context in held.items() if context is not None}
        missing = [text for text in held if text not in contexts]
        if missing:
            contexts.update(zip(missing, self.model.embed(missing), strict=True))
            for text in missing:
                self.contexts.put(text, contexts[text])
        return [contexts[text] for text in texts]

    def _outcomes(self, function: Callable[[Sequence[Any]], list[Any]], items: Sequence[Any], kind: Kind) -> list[Any]:
        """Results in order, an exception in the place of each item that failed by itself.

        A batch that fails is halved until the culprit stands alone, so that it takes no neighbour with it; where the
        device's memory ran out, the halved size becomes the limit.
        """
        try:
            results = function(items)
            return _not_finite_as_errors(results) if kind == "unet" else results
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                self._out_of_memory += 1
                torch.cuda.empty_cache()
                self._limits[kind] = max(1, min(self._limits[kind], len(items) // 2))
            if len(items) == 1:
                return [error]
        half = len(items) // 2
        return self._outcomes(function, items[:half], kind) + self._outcomes(function, items[half:], kind)

    def _count(self, kind: Kind, batch: Sequence[Entry], seconds: float) -> None:
        self._running = 0
        self._device_seconds += seconds
        if kind == "unet":
            self._batches += 1
            for entry in batch:
                self._rows_by_task[entry.request.task] = self._rows_by_task.get(entry.request.task, 0) + 1
            self._items_per_second += 0.1 * (len(batch) / max(seconds, 1e-6) - self._items_per_second)

    def _settle(self, entry: Entry, outcome: Any) -> None:
        """Put an outcome in its place; the last one, or an error, answers the asking."""
        asking, request = entry.asking, entry.request
        request.done += 1
        if not asking.unanswered:
            return
        if isinstance(outcome, BaseException):
            asking.unanswered = 0
            self._line.drop(request, asking)
            asking.answer(outcome)
            return
        asking.results[entry.place] = outcome
        asking.unanswered -= 1
        if not asking.unanswered:
            asking.answer(asking.results)

    def _fail(self, request: Request, error: BaseException) -> None:
        for asking in tuple(request.askings):
            asking.unanswered = 0
            self._cancelled += self._line.drop(request, asking)
            asking.answer(error)

    # What RequestEngine calls, on the event loop.

    def _open(self, task: str, bulk: bool, deadline: float | None) -> Request:
        with self._something_waits:
            return self._line.open(task, bulk=bulk, deadline=deadline)

    def _ask(self, request: Request, asking: Asking) -> None:
        with self._something_waits:
            if self._stopping:
                raise Cancelled("the server is stopping", hint="ask again when it is back")
            try:
                self._line.ask(request, asking, items_per_second=self._items_per_second)
            except Exception:
                self._rejected += 1
                raise
            self._something_waits.notify()

    def _drop(self, request: Request, asking: Asking) -> None:
        with self._something_waits:
            asking.unanswered = 0
            self._cancelled += self._line.drop(request, asking)

    def _close(self, request: Request) -> None:
        with self._something_waits:
            self._cancelled += self._line.close(request)


class RequestEngine:
    """The Engine that one request's head speaks to: its work shares batches with everybody else's.

    timings: wall seconds that the head has waited, by stage ("encode", "embed", "unet", "decode", "run", "host"); of
    those, "queue" are the ones before the device took up the first item of what was asked.
    rows: U-Net rows that were done for this request.
    """

    def __init__(self, engine: RowEngine, task: str, *, bulk: bool, deadline_seconds: float | None) -> None:
        self._engine = engine
        deadline = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        self._request = engine._open(task, bulk, deadline)
        self.timings: dict[str, float] = {}
        self.rows = 0

    def __enter__(self) -> RequestEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._engine._close(self._request)

    @property
    def backbone(self) -> Description:
        return self._engine.model.description

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._engine.model.tokenize(texts)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        keys = await self.run_on_host(lambda: [content_key(pixels) for pixels in pixel_values])
        return await self._cached("encode", self._engine.latents, keys, pixel_values)

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        return await self._cached("embed", self._engine.contexts, texts, texts)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        for row in rows:
            self._engine.model.check(row)
        captures: list[Captures] = await self._ask("unet", rows)
        self.rows += len(rows)
        return captures

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        return await self._ask("decode", latents)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        results = await self._ask("run", [partial(function, *arguments)])
        result: Result = results[0]
        return result

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._engine.host, partial(function, *arguments))
        self._spent("host", started)
        return result

    async def _cached(self, kind: Kind, cache: TensorCache, keys: Sequence[Any], items: Sequence[Any]) -> list[Tensor]:
        """Results by key from the cache, the rest by asking once for each."""
        found = {key: result for key in keys if (result := cache.get(key)) is not None}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        if missing:
            found.update(zip(missing, await self._ask(kind, list(missing.values())), strict=True))
            for key in missing:
                cache.put(key, found[key])
        return [found[key] for key in keys]

    async def _ask(self, kind: Kind, items: Sequence[Any]) -> list[Any]:
        if not items:
            return []
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        asking = Asking(kind, items, partial(_answer, loop, future))
        self._engine._ask(self._request, asking)
        try:
            return await future
        finally:
            if not future.done() or future.cancelled():
                self._engine._drop(self._request, asking)
            self._spent(kind, started)
            self.timings["queue"] = self.timings.get("queue", 0.0) + (asking.taken_at or time.perf_counter()) - started

    def _spent(self, stage: str, started: float) -> None:
        self.timings[stage] = self.timings.get(stage, 0.0) + time.perf_counter() - started


def _answer(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[list[Any]], answer: list[Any] | BaseException
) -> None:
    """Carry an answer from the worker's thread to the caller's loop; one that has ended waits for nothing."""

    def resolve() -> None:
        if future.cancelled():
            return
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(resolve)


def _not_finite_as_errors(results: Sequence[Captures]) -> list[Captures | NotANumber]:
    """`results` with an error in the place of each row that holds NaN or infinity; one look at the device for all."""
    tensors = [(index, tensor) for index, captures in enumerate(results) for tensor in _tensors(captures)]
    if not tensors:
        return list(results)
    finite = torch.stack([tensor.isfinite().all() for _, tensor in tensors]).tolist()
    sick = {index for (index, _), healthy in zip(tensors, finite, strict=True) if not healthy}
    error = NotANumber("the U-Net's result holds NaN or infinity", hint="try dtype=float32, or check the weights")
    return [error if index in sick else captures for index, captures in enumerate(results)]


def _tensors(captures: Captures) -> list[Tensor]:
    own = [tensor for tensor in (captures.output, captures.noise_pred) if tensor is not None]
    banks = [tensor for pair in captures.keys_values.values() for tensor in (pair.keys, pair.values)]
    return [*own, *captures.features.values(), *captures.attention_maps.values(), *banks]
