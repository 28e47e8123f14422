"""The queue of the device: requests and their pending calls. It uses no threads, sockets or clocks."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from backbones.backbone import Backbone
from backbones.errors import Overloaded

Kind = Literal["unet", "encode", "embed", "decode", "run", "apply"]
"""The device's operations. Items of one kind share batches, except those of "run": functions, which run one by one.
Items of "apply" share batches with those of the same network."""

FUNCTIONS: frozenset[Kind] = frozenset({"run", "apply"})
"""Kinds of calls that belong to the batch before them, and never wait for a turn of their own."""


KEPT_BATCHES = 2
"""A request moves after this many batches in which it kept its place."""


@dataclass(eq=False, slots=True)
class Call:
    """One call of a request: its items, and the way back to the caller.

    answer: called once, with all results in order, or with the error that ended the call.
    taken: how many items the device has taken, in order. taken_at: when it took the first, by the worker's clock.
    unanswered: how many results are missing; 0 also after an error. item_bytes: of memory, of one item on average.
    network: what items of "apply" are given to.
    """

    kind: Kind
    items: Sequence[Any]
    answer: Callable[[list[Any] | BaseException], None]
    network: Any = None
    taken: int = 0
    taken_at: float | None = None
    results: list[Any] = field(default_factory=list)
    unanswered: int = 0
    item_bytes: float = 0.0

    def __post_init__(self) -> None:
        self.results = [None] * len(self.items)
        self.unanswered = len(self.items)

    @property
    def waiting(self) -> int:
        return len(self.items) - self.taken


@dataclass(eq=False, slots=True)
class Request:
    """A request's place in the queue.

    number: rises with arrival. backbone: what its items run on; only those of one backbone share a batch.
    bulk: whether interactive requests go first; bulk requests still make progress.
    deadline: a time of `time.monotonic`, or None. place: in the line; the lowest leads the next batch. kept: batches
    since it got this place.
    calls: those whose items wait for a batch, oldest first. functions: calls of `FUNCTIONS` that wait, oldest first.
    done: items that the device has finished.
    """

    number: int
    backbone: Backbone
    task: str
    bulk: bool
    deadline: float | None = None
    place: int = -1
    kept: int = 0
    calls: deque[Call] = field(default_factory=deque)
    functions: deque[Call] = field(default_factory=deque)
    done: int = 0

    @property
    def pending(self) -> list[Call]:
        """All calls that wait."""
        return [*self.functions, *self.calls]

    @property
    def waiting(self) -> int:
        return sum(call.waiting for call in self.pending)


class Entry(NamedTuple):
    """One item of a batch: `call.items[position]`."""

    request: Request
    call: Call
    position: int

    @property
    def item(self) -> Any:
        return self.call.items[self.position]


class RequestQueue:
    """All requests and their pending calls, bounded in items and in bytes: a full queue refuses every call.

    A request's own items do not count if no other request waits, so that a call longer than the bound is slow but not
    always refused. Functions are never refused: they are few, and end their request.
    """

    def __init__(self, max_waiting: int, max_bytes: float = math.inf) -> None:
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.waiting = 0
        self.waiting_bytes = 0.0
        self.requests: dict[int, Request] = {}
        self._numbers = itertools.count()
        self._places = itertools.count()
        self._functions: dict[bool, dict[Call, Request]] = {False: {}, True: {}}  # by class, the oldest first

    def open(self, backbone: Backbone, task: str, *, bulk: bool, deadline: float | None) -> Request:
        """Add a request that has no calls yet."""
        request = Request(next(self._numbers), backbone, task, bulk, deadline)
        self.requests[request.number] = request
        return request

    def submit(self, request: Request, call: Call, *, items_per_second: float) -> None:
        """Add a call to its request. Raises Overloaded if the queue is full."""
        call_bytes = call.item_bytes * len(call.items)
        full = ""
        if self.waiting + len(call.items) > self.max_waiting:
            full = f"{self.waiting} rows wait, and {len(call.items)} more would pass the bound of {self.max_waiting}"
        elif self.waiting_bytes + call_bytes > self.max_bytes:
            full = f"{self.waiting_bytes:,.0f} bytes wait; {call_bytes:,.0f} more would pass {self.max_bytes:,.0f}"
        if full and call.kind not in FUNCTIONS and self.waiting > request.waiting:
            seconds = max(1.0, self.waiting / max(items_per_second, 1e-3))
            raise Overloaded(full, retry_after_seconds=seconds, hint=f"try again in about {seconds:.0f} s")
        self.waiting += len(call.items)
        self.waiting_bytes += call_bytes
        if call.kind in FUNCTIONS:
            request.functions.append(call)
            self._functions[request.bulk][call] = request
            return
        if request.place < 0:
            request.place = next(self._places)
        request.calls.append(call)

    def take(self, batch: Sequence[Entry]) -> None:
        """Count the items of a batch as taken by the device. Requests that had a turn move to the end of the queue."""
        for request, call, _ in batch:
            call.taken += 1
            self._count_out(call, 1)
            if not call.waiting:
                request.calls.remove(call)
        for request, call in {entry.request: entry.call for entry in batch}.items():
            self._move(request, call, len(batch))

    def _move(self, request: Request, call: Call, size: int) -> None:
        """Give a request that a batch of this size served its new place.

        It keeps its place for a few batches if another batch of this size would end its call. Otherwise it had a turn.
        """
        if 0 < call.waiting <= size and request.kept < KEPT_BATCHES:
            request.kept += 1
        else:
            request.place, request.kept = next(self._places), 0

    def count_functions(self, *, bulk: bool) -> int:
        """How many calls of functions of bulk, or of interactive, requests wait."""
        return len(self._functions[bulk])

    def take_functions(self, limit_of: Callable[[Request, Call], int], *, bulk: bool) -> list[Entry]:
        """Take the class's oldest function, or a batch of the oldest network's inputs. No request's place changes.

        limit_of: the largest batch that a request's call may lead.
        """
        if not self._functions[bulk]:
            return []
        first, request = next(iter(self._functions[bulk].items()))
        if first.kind == "run":
            return self._take_function(request, first, 1)
        limit, entries = limit_of(request, first), list[Entry]()
        for call, owner in list(self._functions[bulk].items()):
            if call.kind == "apply" and call.network == first.network and len(entries) < limit:
                entries += self._take_function(owner, call, limit - len(entries))
        return entries

    def _take_function(self, request: Request, call: Call, most: int) -> list[Entry]:
        start = call.taken
        call.taken = min(len(call.items), start + most)
        self._count_out(call, call.taken - start)
        if not call.waiting:
            self._remove(request, call)
        return [Entry(request, call, position) for position in range(start, call.taken)]

    def drop(self, request: Request, call: Call) -> int:
        """Remove the items of a call that still wait. Returns how many these were."""
        dropped = call.waiting
        if dropped:
            self._remove(request, call)
            self._count_out(call, dropped)
            call.taken = len(call.items)
        return dropped

    def close(self, request: Request) -> int:
        """Remove a request and all its items that still wait. Returns how many these were."""
        self.requests.pop(request.number, None)
        return sum(self.drop(request, call) for call in request.pending)

    def find_late(self, now: float) -> list[Request]:
        """Requests that wait and whose deadline has passed."""
        return [r for r in self.requests.values() if r.deadline is not None and r.deadline <= now and r.pending]

    def find_waiting(self) -> Iterable[Request]:
        """Requests that have items waiting for a batch, oldest first."""
        return (request for request in self.requests.values() if request.calls)

    def interactive_waits(self) -> bool:
        """Whether an interactive request waits, for a batch or for a function."""
        return bool(self._functions[False]) or any(not request.bulk for request in self.find_waiting())

    def _count_out(self, call: Call, items: int) -> None:
        self.waiting -= items
        # The last item takes the remainder of rounding.
        self.waiting_bytes = self.waiting_bytes - items * call.item_bytes if self.waiting else 0.0

    def _remove(self, request: Request, call: Call) -> None:
        if call.kind in FUNCTIONS:
            request.functions.remove(call)
            del self._functions[request.bulk][call]
        else:
            request.calls.remove(call)
