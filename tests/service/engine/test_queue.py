"""The queue's bound, the items that it drops, and the places of requests."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backbones.backbone import Backbone
from backbones.errors import Overloaded
from service.engine.queue import KEPT_BATCHES, Call, Entry, Request, RequestQueue

BACKBONE: Backbone = cast(Any, object())


def ten_texts() -> Call:
    return Call("embed", ["text"] * 10, lambda answer: None)


def make_text() -> Call:
    return Call("embed", ["text"], lambda answer: None)


def make_function() -> Call:
    return Call("run", [print], lambda answer: None)


def submit_texts(queue: RequestQueue, *, bulk: bool = False) -> Request:
    request = queue.open(BACKBONE, "task", bulk=bulk, deadline=None)
    queue.submit(request, ten_texts(), items_per_second=1.0)
    return request


def limit_of(request: Request, call: Call) -> int:
    return 8


def take(queue: RequestQueue, counts: dict[Request, int]) -> None:
    """Take a batch of `counts` items of each request's first call."""
    firsts = [(request, request.calls[0], count) for request, count in counts.items()]
    queue.take([Entry(request, call, call.taken + n) for request, call, count in firsts for n in range(count)])


def test_a_full_queue_refuses_a_new_request_and_says_when_to_retry() -> None:
    queue = RequestQueue(15)
    queue.submit(queue.open(BACKBONE, "a", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    with pytest.raises(Overloaded) as refused:
        queue.submit(queue.open(BACKBONE, "b", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    assert refused.value.retry_after_seconds == 5.0
    assert queue.waiting == 10


def test_a_request_that_is_alone_may_pass_the_bound() -> None:
    queue = RequestQueue(15)
    request = queue.open(BACKBONE, "a", bulk=False, deadline=None)
    queue.submit(request, ten_texts(), items_per_second=1.0)
    queue.submit(request, ten_texts(), items_per_second=1.0)
    assert queue.waiting == 20


def test_a_later_call_is_refused_like_a_first_one_but_never_a_function() -> None:
    queue = RequestQueue(15)
    first, second = submit_texts(queue), queue.open(BACKBONE, "b", bulk=False, deadline=None)
    take(queue, {first: 9})
    for _ in range(14):
        queue.submit(second, make_text(), items_per_second=1.0)
    with pytest.raises(Overloaded, match="15 rows wait"):
        queue.submit(second, make_text(), items_per_second=1.0)
    queue.submit(second, make_function(), items_per_second=1.0)
    assert queue.waiting == 16


def test_bytes_are_bounded_as_rows_are() -> None:
    queue = RequestQueue(100, max_bytes=50)
    first, second = (queue.open(BACKBONE, name, bulk=False, deadline=None) for name in "ab")
    queue.submit(first, Call("embed", ["text"] * 4, lambda answer: None, item_bytes=10), items_per_second=1.0)
    more = Call("embed", ["text"] * 2, lambda answer: None, item_bytes=10)
    with pytest.raises(Overloaded, match="40 bytes wait"):
        queue.submit(second, more, items_per_second=1.0)
    take(queue, {first: 1})
    queue.submit(second, more, items_per_second=1.0)
    assert queue.waiting_bytes == 50
    queue.close(first)
    queue.close(second)
    assert (queue.waiting, queue.waiting_bytes) == (0, 0)


def test_an_empty_queue_takes_more_than_its_bound() -> None:
    queue = RequestQueue(5)
    queue.submit(queue.open(BACKBONE, "a", bulk=False, deadline=None), ten_texts(), items_per_second=1.0)
    assert queue.waiting == 10


def test_closing_a_request_drops_its_waiting_items() -> None:
    queue = RequestQueue(100)
    request = queue.open(BACKBONE, "a", bulk=False, deadline=None)
    call = ten_texts()
    queue.submit(request, call, items_per_second=1.0)
    take(queue, {request: 1})
    assert queue.close(request) == 9
    assert queue.waiting == 0
    assert not list(queue.find_waiting())


def make_texts(count: int) -> Call:
    return Call("embed", ["text"] * count, lambda answer: None)


def submit_call(queue: RequestQueue, call: Call) -> Request:
    request = queue.open(BACKBONE, "task", bulk=False, deadline=None)
    queue.submit(request, call, items_per_second=1.0)
    return request


def test_a_request_joins_at_the_end_of_the_queue() -> None:
    queue = RequestQueue(100)
    first, second = submit_call(queue, make_texts(9)), submit_call(queue, make_texts(9))
    take(queue, {first: 2})
    assert submit_call(queue, make_texts(1)).place > first.place > second.place


def test_a_request_that_had_a_batch_of_its_own_goes_to_the_end_of_the_queue() -> None:
    queue = RequestQueue(100)
    large, small = submit_call(queue, make_texts(50)), submit_call(queue, make_texts(1))
    for _ in range(3):
        take(queue, {large: 4})
        assert large.place > small.place


def test_a_call_that_another_batch_ends_keeps_its_place() -> None:
    queue = RequestQueue(100)
    short = submit_call(queue, make_texts(6))
    before = short.place
    take(queue, {short: 4})
    assert short.place == before


def test_an_encode_is_a_turn() -> None:
    queue = RequestQueue(100)
    request, other = (submit_call(queue, Call("encode", [0], lambda answer: None)) for _ in range(2))
    take(queue, {request: 1})
    queue.submit(request, Call("unet", [0], lambda answer: None), items_per_second=1.0)
    assert request.place > other.place


def test_no_request_keeps_its_place_for_more_than_a_few_batches() -> None:
    queue = RequestQueue(100)
    request = submit_call(queue, make_texts(2 * KEPT_BATCHES + 4))
    places = [request.place]
    for size in (KEPT_BATCHES + 2, *[1] * (KEPT_BATCHES + 1)):
        take(queue, {request: size})
        places.append(request.place)
    assert len(set(places[:2])) == 1
    assert request.place > places[0]


def test_only_waiting_requests_can_be_late() -> None:
    queue = RequestQueue(100)
    waiting, idle = (queue.open(BACKBONE, name, bulk=False, deadline=10.0) for name in "ab")
    queue.submit(waiting, ten_texts(), items_per_second=1.0)
    assert queue.find_late(now=9.0) == []
    assert queue.find_late(now=10.0) == [waiting]
    assert idle.waiting == 0


def test_functions_are_taken_in_order_of_arrival_within_their_class() -> None:
    queue = RequestQueue(100)
    first, second = (queue.open(BACKBONE, name, bulk=False, deadline=None) for name in "ab")
    bulk = queue.open(BACKBONE, "c", bulk=True, deadline=None)
    submitted = [(request, make_function()) for request in (bulk, second, first, second)]
    for request, call in submitted:
        queue.submit(request, call, items_per_second=1.0)
    taken = [queue.take_functions(limit_of, bulk=False) for _ in range(4)]
    assert taken == [*[[Entry(*pair, 0)] for pair in submitted[1:]], []]
    assert queue.take_functions(limit_of, bulk=True) == [Entry(*submitted[0], 0)]
    assert queue.waiting == 0


def test_a_function_does_not_move_its_request_in_the_queue() -> None:
    queue = RequestQueue(100)
    request = submit_call(queue, make_text())
    before = request.place
    queue.submit(request, make_function(), items_per_second=1.0)
    queue.take_functions(limit_of, bulk=False)
    assert (request.place, request.kept) == (before, 0)


def test_inputs_of_equal_networks_share_a_batch_up_to_its_limit() -> None:
    queue = RequestQueue(100)
    calls = [
        Call("apply", [0] * count, lambda answer: None, network=name)
        for name, count in (("a", 2), ("b", 1), ("a", 3), ("a", 1))
    ]
    owners = [submit_call(queue, call) for call in calls]

    def take_batch() -> list[tuple[Request, int]]:
        return [(entry.request, entry.position) for entry in queue.take_functions(lambda *_: 4, bulk=False)]

    assert take_batch() == [(owners[0], 0), (owners[0], 1), (owners[2], 0), (owners[2], 1)]
    assert take_batch() == [(owners[1], 0)]
    assert take_batch() == [(owners[2], 2), (owners[3], 0)]
    assert (queue.waiting, queue.count_functions(bulk=False)) == (0, 0)


def test_a_dropped_function_is_not_taken() -> None:
    queue = RequestQueue(100)
    left, closed = (queue.open(BACKBONE, name, bulk=False, deadline=None) for name in "ab")
    calls = {request: make_function() for request in (left, closed)}
    for request, call in calls.items():
        queue.submit(request, call, items_per_second=1.0)
    assert (queue.drop(left, calls[left]), queue.close(closed)) == (1, 1)
    assert queue.take_functions(limit_of, bulk=False) == []
    assert queue.waiting == 0


def test_a_request_whose_function_waits_can_be_late() -> None:
    queue = RequestQueue(100)
    request = queue.open(BACKBONE, "a", bulk=False, deadline=10.0)
    queue.submit(request, make_function(), items_per_second=1.0)
    assert queue.find_late(now=10.0) == [request]
    assert not list(queue.find_waiting())
