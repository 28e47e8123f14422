"""Which items form the next batch: a pure function of the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from backbones.backbone import Backbone
from backbones.engine import batch_key
from backbones.rows import UNetRow
from backbones.sub_blocks import pass_depth
from service.engine.queue import Call, Entry, Kind, Request

LEADER_PART = 4
"""The leader has at least this share of a batch, however many short requests wait."""


def choose_batch(
    requests: Iterable[Request], limit_of: Callable[[Request, Call], int], *, bulk_first: bool = False
) -> list[Entry]:
    """The next batch, or an empty list if nothing waits for one. Changes nothing. Functions are not batched.

    The leader is the request with the lowest place in the first class (interactive, or bulk if `bulk_first`). The batch
    holds items of the leader's backbone that cost nothing more together with its next item, up to
    `limit_of(leader, its call)`. The leader has an equal share of it at least, and a quarter. Then come requests that
    no more than their equal share would end, and then all in the order of their places, each with what fits: so
    requests of one length end one after the other, and not all at last. The other class fills only the places that the
    first leaves free.
    """
    ordered = sorted(requests, key=lambda request: (request.bulk is not bulk_first, request.place))
    if not ordered:
        return []
    leader = ordered[0]
    first = leader.calls[0]
    key = cost_key(first.items[first.taken], leader.backbone)
    limit = limit_of(leader, first)
    batch: list[Entry] = []
    for leader_class in (True, False):
        members = {
            request: _list_fitting_items(request, first.kind, key)
            for request in ordered
            if request.backbone is leader.backbone and (request.bulk is leader.bulk) is leader_class
            if any(call.kind == first.kind for call in request.calls)
        }
        batch += _fill(members, first.kind, limit - len(batch))
    return batch


def cost_key(item: object, backbone: Backbone) -> object:
    """What two items have in common if a batch of both costs no more than its items.

    Rows that can share a batch cost more together if one needs a deeper pass than the other, or if their contexts
    differ in length, which takes a mask.
    """
    if isinstance(item, UNetRow):
        context = item.encoder_hidden_states
        depth = pass_depth(item.capture, backbone.description.sub_blocks)
        return batch_key(item), depth, 0 if context is None else len(context)
    return batch_key(item)  # type: ignore[arg-type]


def _fill(members: dict[Request, Iterator[Entry]], kind: Kind, room: int) -> list[Entry]:
    """At most `room` of the items that members offer. members: in the order of their places."""
    if not members or room <= 0:
        return []
    share = max(1, room // len(members))
    chosen = list(islice(next(iter(members.values())), max(share, room // LEADER_PART)))
    # Items of other keys count here too: the estimate only changes the order.
    short = [r for r in members if sum(call.waiting for call in r.calls if call.kind == kind) <= share]
    for request in (*short, *members):
        chosen += islice(members[request], room - len(chosen))
    return chosen


def _list_fitting_items(request: Request, kind: Kind, key: object) -> Iterator[Entry]:
    """The request's next items with this key, in order; each call stops at its first item that does not fit."""
    return chain.from_iterable(
        _list_fitting_items_of_call(request, call, key) for call in tuple(request.calls) if call.kind == kind
    )


def _list_fitting_items_of_call(request: Request, call: Call, key: object) -> Iterator[Entry]:
    for position in range(call.taken, len(call.items)):
        if cost_key(call.items[position], request.backbone) != key:
            return
        yield Entry(request, call, position)
