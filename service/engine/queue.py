"""What waits for the device: requests and their pending calls. Knows no threads, sockets or clocks."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from backbones.backbone import Backbone
from backbones.errors import Overloaded

Kind = Literal["unet", "encode", "embed", "decode", "run"]
"""The device's operations. Items of one kind share batches, except those of "run": functions, which run one by one."""


@dataclass(eq=False, slots=True)
class Call:
    """One call of a request: its items, and the way back to the caller.

    answer: called once, with all results in order, or with the error that ended the call.
    taken: how many items the device has taken, in order. taken_at: when it took the first, by the worker's clock.
    unanswered: how many results are missing; 0 also after an error. item_bytes: of memory, of one item on average.
    """

    kind: Kind
    items: Sequence[Any]
    answer: Callable[[list[Any] | BaseException], None]
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
    deadline: a time of `time.monotonic`, or None. served: the service count: items that the device took for this
    request while others wanted their places, plus the count at which it joined the queue.
    calls: those whose items wait for a batch, oldest first. functions: calls of kind "run" that wait, oldest first.
    done: items that the device has finished.
    """

    number: int
    backbone: Backbone
    task: str
    bulk: bool
    deadline: float | None = None
    served: float = 0.0
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
    """All requests and their pending calls, bounded in items and in bytes: a full queue refuses a call, whoever asks.

    A request's own items do not count against it where nobody else's wait, so that a call longer than the bound is slow
    but not refused for ever. Functions are never refused: they are one a request, and end it.
    """

    def __init__(self, max_waiting: int, max_bytes: float = math.inf) -> None:
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self.waiting = 0
        self.waiting_bytes = 0.0
        self.requests: dict[int, Request] = {}
        self._numbers = itertools.count()
        self._fair_counts = {False: 0.0, True: 0.0}  # by class, whether bulk
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
        if full and call.kind != "run" and self.waiting > request.waiting:
            seconds = max(1.0, self.waiting / max(items_per_second, 1e-3))
            raise Overloaded(full, retry_after_seconds=seconds, hint=f"try again in about {seconds:.0f} s")
        self.waiting += len(call.items)
        self.waiting_bytes += call_bytes
        if call.kind == "run":
            request.functions.append(call)
            self._functions[request.bulk][call] = request
            return
        if not request.calls:
            # A request that joins starts at the count of a fair share, so idle time earns no priority.
            request.served = max(request.served, self._fair_counts[request.bulk])
        request.calls.append(call)

    def take(self, batch: Sequence[Entry]) -> None:
        """Count the items of a batch as taken by the device."""
        competing = Counter(request.bulk for request in self.find_waiting())
        for request, call, _ in batch:
            call.taken += 1
            self._count_out(call, 1)
            if not call.waiting:
                request.calls.remove(call)
        for bulk in (False, True):
            taken = [entry.request for entry in batch if entry.request.bulk is bulk]
            left = [request for request in self.find_waiting() if request.bulk is bulk]
            # If only one request of this batch still waits, all others have what they wanted: no place was contended.
            if taken and (len(left) > 1 or (len(left) == 1 and left[0] not in taken)):
                self._charge(taken, competing[bulk])

    def _charge(self, requests: Sequence[Request], competing: int) -> None:
        """Add one item to the service count of each request (once for each item), and the mean to the fair count.

        A request that joins later starts at the fair count, which rises with every batch. So the count of a request
        that was served more than others is passed in time, and it is served again however many new requests arrive.
        """
        for request in requests:
            request.served += 1
        self._fair_counts[requests[0].bulk] += len(requests) / competing

    def count_functions(self, *, bulk: bool) -> int:
        """How many functions of bulk, or of interactive, requests wait."""
        return len(self._functions[bulk])

    def take_function(self, *, bulk: bool) -> Entry | None:
        """Take the oldest waiting function of the class. It does not add to its request's service count."""
        if not self._functions[bulk]:
            return None
        call, request = next(iter(self._functions[bulk].items()))
        self._remove(request, call)
        call.taken = 1
        self._count_out(call, 1)
        return Entry(request, call, 0)

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
        # What is left of rounding goes with the last item.
        self.waiting_bytes = self.waiting_bytes - items * call.item_bytes if self.waiting else 0.0

    def _remove(self, request: Request, call: Call) -> None:
        if call.kind == "run":
            request.functions.remove(call)
            del self._functions[request.bulk][call]
        else:
            request.calls.remove(call)
