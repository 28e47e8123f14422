"""Who goes into the next batch: a pure choice over what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from backbones.engine import batch_key
from service.engine.waiting import Asking, Kind, Request


class Entry(NamedTuple):
    """One item of one asking, chosen for a batch: `asking.items[place]`."""

    request: Request
    asking: Asking
    place: int

    @property
    def item(self) -> Any:
        return self.asking.items[self.place]


def choose_batch(requests: Iterable[Request], limits: Mapping[Kind, int], *, bulk_first: bool = False) -> list[Entry]:
    """The next batch, or an empty list when nothing waits. Changes nothing.

    The leader is the request of the first class (interactive, or bulk where `bulk_first`) that was served least, the
    oldest of equals. The batch holds what can share a batch with the leader's next item: one item a request in turn,
    until `limits[kind]` is reached; the other class fills only places that the first leaves free.
    """
    in_line = sorted(requests, key=lambda request: (request.bulk is not bulk_first, request.served, request.number))
    if not in_line:
        return []
    leader = in_line[0]
    first = leader.askings[0]
    kind, key = first.kind, _key(first, first.taken)
    limit = limits[kind]
    batch: list[Entry] = []
    for of_leaders_class in (True, False):
        members = [request for request in in_line if (request.bulk is leader.bulk) is of_leaders_class]
        for entry in _in_turn(members, kind, key):
            batch.append(entry)
            if len(batch) == limit:
                return batch
    return batch


def _in_turn(requests: Iterable[Request], kind: Kind, key: object) -> Iterator[Entry]:
    """Fitting items, one a request in turn until all are spent."""
    waiting_turns = deque(_fitting(request, kind, key) for request in requests)
    while waiting_turns:
        turn = waiting_turns.popleft()
        entry = next(turn, None)
        if entry is not None:
            yield entry
            waiting_turns.append(turn)


def _fitting(request: Request, kind: Kind, key: object) -> Iterator[Entry]:
    """The request's next items of a batch key, in the order asked; an asking ends where its next item does not fit."""
    return chain.from_iterable(
        _fitting_run(request, asking, key) for asking in tuple(request.askings) if asking.kind == kind
    )


def _fitting_run(request: Request, asking: Asking, key: object) -> Iterator[Entry]:
    for place in range(asking.taken, len(asking.items)):
        if _key(asking, place) != key:
            return
        yield Entry(request, asking, place)


def _key(asking: Asking, place: int) -> object:
    # A function call shares a batch with nothing but itself.
    return (id(asking), place) if asking.kind == "run" else batch_key(asking.items[place])
