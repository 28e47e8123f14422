"""What waits for the device: requests, each with what it has asked for. No threads, sockets or clocks in here."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backbones.errors import Overloaded

Kind = Literal["unet", "encode", "embed", "decode", "run"]
"""What the device can be asked for; only items of one kind share a batch."""


@dataclass(eq=False, slots=True)
class Asking:
    """One call of a request: its items, and the way back to the caller.

    answer: called once, with all results in order or with the error that ended the asking.
    taken: items that were handed to the device so far, in order. taken_at: when the first was, by the worker's clock.
    """

    kind: Kind
    items: Sequence[Any]
    answer: Callable[[list[Any] | BaseException], None]
    taken: int = 0
    taken_at: float | None = None
    results: list[Any] = field(default_factory=list)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self.results = [None] * len(self.items)
        self.unanswered = len(self.items)

    @property
    def waiting(self) -> int:
        return len(self.items) - self.taken


@dataclass(eq=False, slots=True)
class Request:
    """One caller's place in the line.

    number: rises with arrival. bulk: served after the interactive ones, though never starved. deadline: on the clock of
    `time.monotonic`, or None. served: items taken for it, counted from where the others stood when it came.
    done: items that the device has finished for it.
    """

    number: int
    task: str
    bulk: bool
    deadline: float | None = None
    served: float = 0.0
    askings: deque[Asking] = field(default_factory=deque)
    done: int = 0

    @property
    def waiting(self) -> int:
        return sum(asking.waiting for asking in self.askings)


class WaitingLine:
    """Everything that waits, bounded: a newcomer is refused while the line is full, whoever is in may go on asking.

    An empty line takes anything, so that one asking longer than the bound is slow but never refused for ever.
    """

    def __init__(self, max_waiting: int) -> None:
        self.max_waiting = max_waiting
        self.waiting = 0
        self.requests: dict[int, Request] = {}
        self._numbers = itertools.count()

    def open(self, task: str, *, bulk: bool, deadline: float | None) -> Request:
        request = Request(next(self._numbers), task, bulk, deadline)
        self.requests[request.number] = request
        return request

    def ask(self, request: Request, asking: Asking, *, items_per_second: float) -> None:
        """Add an asking. Raises Overloaded for the first asking of a request that finds the line full."""
        newcomer = request.done == 0 and not request.askings
        if newcomer and self.waiting and self.waiting + len(asking.items) > self.max_waiting:
            seconds = max(1.0, self.waiting / max(items_per_second, 1e-3))
            raise Overloaded(
                f"{self.waiting} rows wait, and {len(asking.items)} more would pass the bound of {self.max_waiting}",
                retry_after_seconds=seconds,
                hint=f"try again in about {seconds:.0f} s",
            )
        if not request.askings:
            # Nobody saves up turns by staying away: a request comes back level with the least served that waits.
            others = [other.served for other in self.requests.values() if other.askings]
            request.served = max(request.served, min(others, default=0.0))
        request.askings.append(asking)
        self.waiting += len(asking.items)

    def take(self, request: Request, asking: Asking) -> None:
        """Count the asking's next item as handed to the device."""
        asking.taken += 1
        request.served += 1
        self.waiting -= 1
        if not asking.waiting:
            request.askings.remove(asking)

    def drop(self, request: Request, asking: Asking) -> int:
        """Forget what still waits of an asking; returns how many items that were."""
        dropped = asking.waiting
        if dropped:
            request.askings.remove(asking)
            self.waiting -= dropped
            asking.taken = len(asking.items)
        return dropped

    def close(self, request: Request) -> int:
        """Forget a request and all that still waits of it; returns how many items that were."""
        self.requests.pop(request.number, None)
        return sum(self.drop(request, asking) for asking in tuple(request.askings))

    def late(self, now: float) -> list[Request]:
        """Requests whose deadline has passed while something of them waits."""
        return [r for r in self.requests.values() if r.deadline is not None and r.deadline <= now and r.askings]

    def in_line(self) -> Iterable[Request]:
        """Requests of which something waits, oldest first."""
        return (request for request in self.requests.values() if request.askings)
