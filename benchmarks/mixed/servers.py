"""The simple servers of `benchmarks.mixed_load`: FastAPI around plain diffusers parts, in three usual designs.

greedy: a pool of threads for images, one thread for the device, a queue for each task. The task with the longest
waiting request goes next, with up to 16 of its images.
turns: the same, but a zero-shot batch lets others go between its U-Net batches.
lock: one request at a time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.mixed.load import PATHS, samples_of
from benchmarks.mixed.work import Prepared, Work

IMAGES = 16
DESIGNS = ("greedy", "turns", "lock")


@dataclass(slots=True)
class Waiting:
    """A request of one queue. since: by `perf_counter`."""

    prepared: Prepared
    future: asyncio.Future[Any]
    since: float = field(default_factory=time.perf_counter)


class Greedy:
    """One thread that owns the device, and a queue for each task. turns: whether a zero-shot batch lets others go."""

    def __init__(self, work: Work, *, turns: bool) -> None:
        self._work = work
        self._turns = turns
        self._queues: dict[str, deque[Waiting]] = {task: deque() for task in PATHS}
        self._arrived = threading.Condition()
        # A zero-shot batch that let others go, and the time since then.
        self._paused: tuple[list[Waiting], Iterator[list[Any] | None], float] | None = None
        threading.Thread(target=self._repeat, name="device", daemon=True).start()

    async def ask(self, task: str, prepared: Prepared) -> Any:
        """The result of one image."""
        waiting = Waiting(prepared, asyncio.get_running_loop().create_future())
        with self._arrived:
            self._queues[task].append(waiting)
            self._arrived.notify()
        return await waiting.future

    def _repeat(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._paused or any(self._queues.values()))
                since = {task: queue[0].since for task, queue in self._queues.items() if queue}
                if self._paused is not None:
                    since["zero_shot"] = self._paused[2]
                task = min(since, key=since.__getitem__)
                if task == "zero_shot" and self._paused is not None:
                    batch, steps, _ = self._paused
                    self._paused = None
                else:
                    queue = self._queues[task]
                    batch = [queue.popleft() for _ in range(min(IMAGES, len(queue)))]
                    steps = self._work.run_in_steps(task, [entry.prepared for entry in batch])
            results: list[Any] | Exception | None
            try:
                results = next(steps)
                while results is None and not self._turns:
                    results = next(steps)
            except Exception as error:
                results = error
            if results is None:
                self._paused = (batch, steps, time.perf_counter())
            else:
                batch[0].future.get_loop().call_soon_threadsafe(_settle, batch, results)


def _settle(batch: list[Waiting], results: list[Any] | Exception) -> None:
    for place, entry in enumerate(batch):
        if entry.future.done():
            continue
        if isinstance(results, Exception):
            entry.future.set_exception(results)
        else:
            entry.future.set_result(results[place])


def build_app(design: str, threads: int) -> FastAPI:
    """The server of a design; each torch operation uses `threads` threads."""
    work = Work(threads)
    greedy = Greedy(work, turns=design == "turns") if design != "lock" else None
    pool = ThreadPoolExecutor(4)
    lock = asyncio.Lock()
    app = FastAPI()

    def whole(task: str, data: bytes, samples: int) -> bytes:
        prepared = work.prepare(task, data, samples)
        return work.answer(task, prepared, work.run(task, [prepared])[0])

    async def answer(task: str, request: Request) -> Response:
        data, samples = await request.body(), samples_of(request.query_params)
        loop = asyncio.get_running_loop()
        if greedy is None:
            async with lock:
                body = await loop.run_in_executor(pool, whole, task, data, samples)
        else:
            prepared = await loop.run_in_executor(pool, work.prepare, task, data, samples)
            result = await greedy.ask(task, prepared)
            body = await loop.run_in_executor(pool, work.answer, task, prepared, result)
        return Response(body, media_type="application/json")

    def add_route(task: str, path: str) -> None:
        @app.post(path)
        async def route(request: Request) -> Response:
            return await answer(task, request)

    for task, path in PATHS.items():
        add_route(task, path)

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {}

    return app


if __name__ == "__main__":
    _, chosen, port, threads = sys.argv
    assert chosen in DESIGNS, f"{chosen}: one of {', '.join(DESIGNS)}"
    uvicorn.run(
        build_app(chosen, int(threads)), host="127.0.0.1", port=int(port), log_level="warning", access_log=False
    )
