"""Which items form the next batch: a pure choice among what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from backbones.engine import batch_key
from service.engine.queue import Call, Entry, Kind, Request


def choose_batch(
    requests: Iterable[Request], limit_of: Callable[[Request, Call], int], *, bulk_first: bool = False
) -> list[Entry]:
    """The next batch, or an empty list if nothing waits for one. Changes nothing. Functions are not batched.

    The leader is the request with the lowest service count in the first class (interactive, or bulk if `bulk_first`);
    the oldest of equals. The batch holds items of the leader's backbone that can share a batch with its next item. Each
    request adds one item in turn until `limit_of(leader, its call)` is reached. The other class fills only the places
    that the first leaves free.
    """
    ordered = sorted(requests, key=lambda request: (request.bulk is not bulk_first, request.served, request.number))
    if not ordered:
        return []
    leader = ordered[0]
    first = leader.calls[0]
    kind, key = first.kind, batch_key(first.items[first.taken])
    limit = limit_of(leader, first)
    batch: list[Entry] = []
    for leader_class in (True, False):
        members = [
            request
            for request in ordered
            if request.backbone is leader.backbone and (request.bulk is leader.bulk) is leader_class
        ]
        for entry in _take_turns(members, kind, key):
            batch.append(entry)
            if len(batch) == limit:
                return batch
    return batch


def _take_turns(requests: Iterable[Request], kind: Kind, key: object) -> Iterator[Entry]:
    """The items that fit, one from each request in turn until all are used."""
    sources = deque(_fitting_items(request, kind, key) for request in requests)
    while sources:
        source = sources.popleft()
        entry = next(source, None)
        if entry is not None:
            yield entry
            sources.append(source)


def _fitting_items(request: Request, kind: Kind, key: object) -> Iterator[Entry]:
    """The request's next items with this batch key, in order; each call stops at its first item that does not fit."""
    return chain.from_iterable(
        _fitting_items_of_call(request, call, key) for call in tuple(request.calls) if call.kind == kind
    )


def _fitting_items_of_call(request: Request, call: Call, key: object) -> Iterator[Entry]:
    for position in range(call.taken, len(call.items)):
        if batch_key(call.items[position]) != key:
            return
        yield Entry(request, call, position)
