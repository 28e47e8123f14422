"""The worker of a device: its lanes take batches from the queue, run them, and answer their requests, turn by turn."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Condition, Thread, current_thread
from typing import Any

import structlog
import torch

from backbones.backbone import Backbone
from backbones.engine import APPLIED
from backbones.errors import Cancelled, DeadlinePassed
from backbones.rows import Capture, UNetRow
from service.engine.batch_limits import BatchLimits
from service.engine.batching import choose_batch
from service.engine.caches import TensorCache
from service.engine.device_errors import DeviceLost, answer_to, make_stopped_error, stop_if_lost
from service.engine.execution import choose_function, run_isolated
from service.engine.figures import EngineCounts, EngineFigures, RanBatch
from service.engine.queue import Call, Entry, Kind, Request, RequestQueue
from service.engine.session import Session

log = structlog.get_logger("diffsight")

# After this many failures of the worker itself in a row, with no finished turn between them, it stops.
MOST_FAILURES = 5
# Seconds before it starts again; multiplied by the number of failures in a row.
RESTART_SECONDS = 0.5
# After this many batches in a row without a bulk item, bulk leads one.
BULK_TURN = 8


class DeviceWorker:
    """Batches the work of all requests on one device, whichever of its backbones they run on.

    model: the backbone of sessions that name none.
    max_batch_rows: items of the largest batch of any kind; 0 sets none. Below it, memory that is free and measured
    seconds bound each batch, and what ran out of memory is lowered for a while.
    max_batch_seconds: how long one batch may take, unless a single item takes longer.
    max_waiting_rows, max_waiting_bytes: a call gets Overloaded if more items, or more memory in them, would wait.
    context_cache_bytes, latent_cache_bytes: how much device memory the caches of text contexts and of latents may use.
    lanes: threads that take turns from the same queue, each as many batches as it can; `prepare_lanes` changes it.
    functions_on_host: whether `run` is done by the host's threads, as is best where the device is the host's processor.

    `step` takes one turn and knows no thread, so that a test can call it by hand; `start` starts threads that repeat
    it. The worker never waits for a fuller batch: an idle device takes what is there.
    """

    def __init__(
        self,
        model: Backbone | None = None,
        *,
        max_batch_rows: int = 32,
        max_batch_seconds: float = math.inf,
        max_waiting_rows: int = 65536,
        max_waiting_bytes: int = 2 << 30,
        context_cache_bytes: int = 64 << 20,
        latent_cache_bytes: int = 64 << 20,
        lanes: int = 1,
        functions_on_host: bool = False,
    ) -> None:
        self.model = model
        self.contexts = TensorCache(context_cache_bytes)
        self.latents = TensorCache(latent_cache_bytes)
        self.on_batch: Callable[[RanBatch], None] | None = None
        self.on_stopped: Callable[[Exception], None] | None = None  # on its own thread, after its last failure
        self.host = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="host")
        self.limits = BatchLimits(max_batch_rows, max_batch_seconds, lanes=lanes)
        self._queue = RequestQueue(max_waiting_rows, max_waiting_bytes)
        self._counts = EngineCounts()
        self._work_arrived = Condition()
        self.lanes = lanes
        self.functions_on_host = functions_on_host
        self._threads: list[Thread] = []
        self._stopping = False
        self._failures = 0
        self._restarting = False
        self._batches_since_bulk = 0
        self._prepare: Callable[[], None] | None = None

    def start(self) -> None:
        """Start the worker's threads, one a lane."""
        self._stopping = False
        self._failures = 0
        self._start_lanes()

    def stop(self) -> None:
        """Finish the current batch or function, answer everything that waits with Cancelled, and end the threads."""
        with self._work_arrived:
            self._stopping = True
            self._work_arrived.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._fail_all(Cancelled("the server is stopping", hint="send it again when the server is back"))
        self.host.shutdown(cancel_futures=True)

    def session(
        self,
        task: str,
        *,
        backbone: Backbone | None = None,
        bulk: bool = False,
        deadline_seconds: float | None = None,
    ) -> Session:
        """The Engine for one request, to be used as a context: leaving it drops the items that still wait.

        task: the name under which the request's rows are counted. backbone: what they run on.
        bulk: whether interactive requests go first.
        """
        backbone = backbone or self.model
        assert backbone is not None, "a session needs a backbone"
        return Session(self, backbone, task, bulk=bulk, deadline_seconds=deadline_seconds)

    def step(self) -> int:
        """One turn: the functions that wait, then one batch. Returns how many items it did, 0 if nothing waits."""
        functions = 0
        for entries in self._take_functions():
            self._run(entries)
            functions += len(entries)
        with self._work_arrived:
            batch = [] if self._stopping else self._take_batch()
        if batch:
            self._run(batch)
        return functions + len(batch)

    @property
    def alive(self) -> bool:
        """Whether the worker's threads run. They end after `MOST_FAILURES`."""
        running = bool(self._threads) and all(thread.is_alive() for thread in self._threads)
        return running and self._failures < MOST_FAILURES

    @property
    def restarting(self) -> bool:
        """Whether the worker has failed and will start again. The queue is kept."""
        return self._restarting

    def figures(self) -> EngineFigures:
        """A consistent reading of state and counts."""
        with self._work_arrived:
            return self._counts.read(
                waiting=self._queue.waiting,
                requests_open=len(self._queue.requests),
                contexts_cache=self.contexts.figures(),
                latents_cache=self.latents.figures(),
            )

    def least_row_seconds(self, backbone: Backbone, rows: int) -> float:
        """Seconds that so many U-Net rows of a backbone's native size take here at least, by measured batches."""
        model = backbone.description
        side = model.image_size // model.downscale
        latents = torch.empty(model.latent_channels, side, side, device="meta")
        row = UNetRow(latents, 0, None, Capture(noise_pred=True))
        return self.limits.least_seconds("unet", backbone, row, rows)

    # The session calls these four on the event loop.

    def open_request(self, backbone: Backbone, task: str, *, bulk: bool, deadline: float | None) -> Request:
        """Add a request to the queue."""
        with self._work_arrived:
            return self._queue.open(backbone, task, bulk=bulk, deadline=deadline)

    def submit(self, request: Request, call: Call) -> None:
        """Add a call to the queue. Raises Overloaded if the queue is full, and Cancelled when the worker stops."""
        with self._work_arrived:
            if self._stopping:
                raise Cancelled("the server is stopping", hint="send it again when the server is back")
            if self._failures >= MOST_FAILURES:
                raise make_stopped_error()
            try:
                self._queue.submit(request, call, items_per_second=self._counts.items_per_second)
            except Exception:
                self._counts.rejected += 1
                raise
            # With notify(), an idle lane could take the notice that a working lane needs.
            self._work_arrived.notify_all()

    def withdraw(self, request: Request, call: Call) -> None:
        """Drop the items of a call that still wait, and ignore the results of the others."""
        with self._work_arrived:
            call.unanswered = 0
            self._counts.cancelled += self._queue.drop(request, call)

    def close_request(self, request: Request) -> None:
        """Remove a request and drop its items that still wait."""
        with self._work_arrived:
            self._counts.cancelled += self._queue.close(request)

    def prepare_lanes(self, lanes: int, prepare: Callable[[], None]) -> None:
        """Take so many lanes, and let each call `prepare` before its next turn: torch keeps threads by thread.

        prepare: raises nothing. Lanes beyond `lanes` rest.
        """
        with self._work_arrived:
            self.lanes = self.limits.lanes = lanes
            self._prepare = prepare
            if self._threads:
                self._start_lanes()

    def _start_lanes(self) -> None:
        while len(self._threads) < self.lanes:
            lane = len(self._threads)
            self._threads.append(Thread(target=self._repeat_steps, args=(lane,), name=f"device {lane}", daemon=True))
            self._threads[-1].start()

    def _repeat_steps(self, lane: int) -> None:
        prepared: Callable[[], None] | None = None
        while True:
            with self._work_arrived:
                self._work_arrived.wait_for(
                    lambda: (
                        self._stopping or self._failures >= MOST_FAILURES or (lane < self.lanes and self._queue.waiting)
                    )
                )
                if self._stopping or self._failures >= MOST_FAILURES:
                    return
                prepare = self._prepare
            try:
                if prepare is not None and prepare is not prepared:
                    prepare()
                    prepared = prepare
                self.step()
                self._failures = 0
            except BaseException as error:  # the calls of the batch are answered, and the queue is kept
                lost = isinstance(error, DeviceLost)
                log.error("the device's worker failed", **({"error": str(error)} if lost else {"exc_info": error}))
                if not self._start_again(lost=lost):
                    return

    def _start_again(self, *, lost: bool) -> bool:
        """Wait a little before the next turn. False after too many failures, or a lost device: all is answered then."""
        with self._work_arrived:
            self._failures = MOST_FAILURES if lost else self._failures + 1
            self._restarting = not lost
            self._work_arrived.wait_for(lambda: lost or self._stopping, timeout=RESTART_SECONDS * self._failures)
            self._restarting = False
        if self._failures < MOST_FAILURES:
            return True
        self._fail_all(make_stopped_error())
        with self._work_arrived:
            self._work_arrived.notify_all()
        if self.on_stopped is not None:
            self.on_stopped(make_stopped_error())
        return False

    def _take_functions(self) -> Iterator[list[Entry]]:
        """The functions to run in this turn, each taken out of the queue when its turn comes.

        A function belongs to the batch before it: it reduces results, makes the next rows or is a head's own network.
        It never waits for a batch of its own, so a request ends soon after its last row, whatever its place.
        """
        with self._work_arrived:
            self._fail_late()
            # Functions that arrive from now on wait for the next turn, so that they never keep a batch from running.
            counts = {bulk: self._queue.count_functions(bulk=bulk) for bulk in (False, True)}
        for bulk, count in counts.items():
            for number in range(count):
                with self._work_arrived:
                    if self._stopping:
                        return
                    # A function may take as long as a batch. While interactive requests wait, one bulk function a turn
                    # keeps the bulk requests moving and delays the others by about one batch at most.
                    if bulk and number and self._queue.interactive_waits():
                        return
                    entries = self._queue.take_functions(self._limit_of, bulk=bulk)
                    if not entries:
                        break
                    self._mark_taken(entries)
                yield entries

    def _take_batch(self) -> list[Entry]:
        """The next batch, taken out of the queue."""
        self._fail_late()
        bulk_first = self._batches_since_bulk >= BULK_TURN and any(r.bulk for r in self._queue.find_waiting())
        batch = choose_batch(self._queue.find_waiting(), self._limit_of, bulk_first=bulk_first)
        if batch:
            self._queue.take(batch)
            self._mark_taken(batch)
            has_bulk = any(entry.request.bulk for entry in batch)
            self._batches_since_bulk = 0 if has_bulk else self._batches_since_bulk + 1
        return batch

    def _limit_of(self, request: Request, call: Call) -> int:
        if call.kind == "apply":
            return APPLIED
        return self.limits.limit(call.kind, request.backbone, call.items[call.taken])

    def _mark_taken(self, entries: Sequence[Entry]) -> None:
        now = time.perf_counter()
        for entry in entries:
            if entry.call.taken_at is None:
                entry.call.taken_at = now
        self._counts.running += len(entries)

    def _run(self, batch: Sequence[Entry]) -> None:
        """Run a batch, or one function, and answer the calls that it completes.

        If the worker itself fails, its calls are answered with the error, which is then raised.
        """
        try:
            self._run_and_settle(batch)
        except BaseException as error:
            with self._work_arrived:
                for request, call, _ in batch:
                    self._end_call(request, call, answer_to(error))
            raise

    def _run_and_settle(self, batch: Sequence[Entry]) -> None:
        kind = batch[0].call.kind
        started, worked = time.perf_counter(), time.thread_time()
        backbone = batch[0].request.backbone
        count_out_of_memory = partial(self._count_out_of_memory, kind, backbone, batch[0].item)
        try:
            function = stop_if_lost(choose_function(batch[0].call, backbone, self.contexts))
            outcomes = run_isolated(function, [entry.item for entry in batch], count_out_of_memory)
        finally:
            with self._work_arrived:
                self._counts.running -= len(batch)
        seconds = time.perf_counter() - started
        tasks = tuple(entry.request.task for entry in batch)
        ran = RanBatch(kind, tasks, started, seconds, current_thread().name)
        # Other threads affect processor seconds less than wall seconds.
        own = time.thread_time() - worked if backbone.description.device.type == "cpu" else None
        with self._work_arrived:
            self.limits.count(kind, backbone, batch[0].item, len(batch), seconds, own)
            self._counts.count_batch(ran)
            for entry, outcome in zip(batch, outcomes, strict=True):
                self._settle(entry, outcome)
        if self.on_batch is not None:
            try:
                self.on_batch(ran)
            except Exception as error:  # an error in a callback of metrics must not stop the worker
                log.error("a batch could not be reported", exc_info=error)

    def _count_out_of_memory(self, kind: Kind, backbone: Backbone, item: Any, items: int) -> None:
        with self._work_arrived:
            self._counts.out_of_memory += 1
            # A single item that does not fit says nothing about smaller items.
            if items > 1:
                self.limits.count_out_of_memory(kind, backbone, item, items)

    def _settle(self, entry: Entry, outcome: Any) -> None:
        """Store one result. The last one, or an error, answers the call."""
        call, request = entry.call, entry.request
        request.done += 1
        if not call.unanswered:
            return
        if isinstance(outcome, BaseException):
            self._end_call(request, call, outcome)
            return
        call.results[entry.position] = outcome
        call.unanswered -= 1
        if not call.unanswered:
            call.answer(call.results)

    def _end_call(self, request: Request, call: Call, error: BaseException) -> None:
        """Answer a call with an error, unless it is answered; drop its items that still wait."""
        if not call.unanswered:
            return
        call.unanswered = 0
        self._queue.drop(request, call)
        call.answer(error)

    def _fail_all(self, error: BaseException) -> None:
        """Answer everything that waits with the error."""
        with self._work_arrived:
            for request in tuple(self._queue.requests.values()):
                self._fail(request, error)

    def _fail_late(self) -> None:
        for request in self._queue.find_late(time.monotonic()):
            self._fail(request, DeadlinePassed("the request's deadline passed while its work waited"))

    def _fail(self, request: Request, error: BaseException) -> None:
        """Drop everything of a request that waits, and answer its calls with the error."""
        for call in request.pending:
            call.unanswered = 0
            self._counts.cancelled += self._queue.drop(request, call)
            call.answer(error)
