"""The queue's bound, what it drops, and its service counts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backbones.backbone import Backbone
from backbones.errors import Overloaded
from service.engine.queue import Call, Entry, Request, RequestQueue

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
    one, other = submit_texts(queue), queue.open(BACKBONE, "b", bulk=False, deadline=None)
    take(queue, {one: 9})
    for _ in range(14):
        queue.submit(other, make_text(), items_per_second=1.0)
    with pytest.raises(Overloaded, match="15 rows wait"):
        queue.submit(other, make_text(), items_per_second=1.0)
    queue.submit(other, make_function(), items_per_second=1.0)
    assert queue.waiting == 16


def test_bytes_are_bounded_as_rows_are() -> None:
    queue = RequestQueue(100, max_bytes=50)
    one, other = (queue.open(BACKBONE, name, bulk=False, deadline=None) for name in "ab")
    queue.submit(one, Call("embed", ["text"] * 4, lambda answer: None, item_bytes=10), items_per_second=1.0)
    more = Call("embed", ["text"] * 2, lambda answer: None, item_bytes=10)
    with pytest.raises(Overloaded, match="40 bytes wait"):
        queue.submit(other, more, items_per_second=1.0)
    take(queue, {one: 1})
    queue.submit(other, more, items_per_second=1.0)
    assert queue.waiting_bytes == 50
    queue.close(one)
    queue.close(other)
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


def test_places_that_no_other_request_wants_do_not_count() -> None:
    queue = RequestQueue(100)
    large = submit_texts(queue)
    take(queue, {large: 2})
    small = queue.open(BACKBONE, "task", bulk=False, deadline=None)
    queue.submit(small, make_text(), items_per_second=1.0)
    take(queue, {large: 4, small: 1})
    assert (large.served, small.served) == (0, 0)


def test_places_that_other_requests_want_count() -> None:
    queue = RequestQueue(100)
    first, second, left_out = (submit_texts(queue) for _ in range(3))
    take(queue, {first: 4, second: 2})
    assert [request.served for request in (first, second, left_out)] == [4, 2, 0]


def test_a_request_that_joins_starts_at_a_fair_share() -> None:
    queue = RequestQueue(100)
    busy, other = (submit_texts(queue) for _ in range(2))
    idle = queue.open(BACKBONE, "task", bulk=False, deadline=None)
    take(queue, {busy: 4, other: 2})
    queue.submit(idle, ten_texts(), items_per_second=1.0)
    assert idle.served == 3.0


def test_the_count_of_a_request_that_had_more_is_passed_in_time() -> None:
    queue = RequestQueue(1000)
    large, other = (submit_texts(queue) for _ in range(2))
    take(queue, {large: 8})
    assert large.served == submit_texts(queue).served + 4
    for _ in range(8):
        new = submit_texts(queue)
        take(queue, {new: 2})
        queue.close(new)
    assert other.served == 0
    assert submit_texts(queue).served >= large.served


def test_bulk_and_interactive_requests_have_counts_of_their_own() -> None:
    queue = RequestQueue(100)
    bulk = [submit_texts(queue, bulk=True) for _ in range(2)]
    take(queue, dict.fromkeys(bulk, 5))
    assert submit_texts(queue).served == 0
    assert submit_texts(queue, bulk=True).served == 5


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
    taken = [queue.take_function(bulk=False) for _ in range(4)]
    assert taken == [*[Entry(*pair, 0) for pair in submitted[1:]], None]
    assert queue.take_function(bulk=True) == Entry(*submitted[0], 0)
    assert queue.waiting == 0


def test_a_function_adds_nothing_to_the_service_count() -> None:
    queue = RequestQueue(100)
    request = queue.open(BACKBONE, "a", bulk=False, deadline=None)
    queue.submit(request, make_function(), items_per_second=1.0)
    queue.take_function(bulk=False)
    assert request.served == 0


def test_a_dropped_function_is_not_taken() -> None:
    queue = RequestQueue(100)
    left, closed = (queue.open(BACKBONE, name, bulk=False, deadline=None) for name in "ab")
    calls = {request: make_function() for request in (left, closed)}
    for request, call in calls.items():
        queue.submit(request, call, items_per_second=1.0)
    assert (queue.drop(left, calls[left]), queue.close(closed)) == (1, 1)
    assert queue.take_function(bulk=False) is None
    assert queue.waiting == 0


def test_a_request_whose_function_waits_can_be_late() -> None:
    queue = RequestQueue(100)
    request = queue.open(BACKBONE, "a", bulk=False, deadline=10.0)
    queue.submit(request, make_function(), items_per_second=1.0)
    assert queue.find_late(now=10.0) == [request]
    assert not list(queue.find_waiting())
