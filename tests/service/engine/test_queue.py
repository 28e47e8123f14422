"""The queue's bound, what it drops, and its service counts."""

from __future__ import annotations

import pytest

from backbones.errors import Overloaded
from service.engine.queue import Call, RequestQueue


def ten_texts() -> Call:
    return Call("embed", ["text"] * 10, lambda answer: None)


def make_function() -> Call:
    return Call("run", [print], lambda answer: None)


def test_a_full_queue_refuses_a_new_request_and_says_when_to_retry() -> None:
    queue = RequestQueue(15)
    queue.submit(queue.open("a", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    with pytest.raises(Overloaded) as refused:
        queue.submit(queue.open("b", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    assert refused.value.retry_after_seconds == 5.0
    assert queue.waiting == 10


def test_a_request_in_the_queue_may_pass_the_bound() -> None:
    queue = RequestQueue(15)
    request = queue.open("a", bulk=False, deadline=None)
    queue.submit(request, ten_texts(), items_per_second=1.0)
    queue.submit(request, ten_texts(), items_per_second=1.0)
    assert queue.waiting == 20


def test_an_empty_queue_takes_more_than_its_bound() -> None:
    queue = RequestQueue(5)
    queue.submit(queue.open("a", bulk=False, deadline=None), ten_texts(), items_per_second=1.0)
    assert queue.waiting == 10


def test_closing_a_request_drops_its_waiting_items() -> None:
    queue = RequestQueue(100)
    request = queue.open("a", bulk=False, deadline=None)
    call = ten_texts()
    queue.submit(request, call, items_per_second=1.0)
    queue.take(request, call)
    assert queue.close(request) == 9
    assert queue.waiting == 0
    assert not list(queue.find_waiting())


def test_a_request_that_rejoins_has_earned_no_priority() -> None:
    queue = RequestQueue(100)
    busy, idle = (queue.open(name, bulk=False, deadline=None) for name in "ab")
    call = ten_texts()
    queue.submit(busy, call, items_per_second=1.0)
    for _ in range(5):
        queue.take(busy, call)
    queue.submit(idle, ten_texts(), items_per_second=1.0)
    assert idle.served == busy.served == 5.0


def test_only_waiting_requests_can_be_late() -> None:
    queue = RequestQueue(100)
    waiting, idle = (queue.open(name, bulk=False, deadline=10.0) for name in "ab")
    queue.submit(waiting, ten_texts(), items_per_second=1.0)
    assert queue.find_late(now=9.0) == []
    assert queue.find_late(now=10.0) == [waiting]
    assert idle.waiting == 0


def test_functions_are_taken_in_order_of_arrival_within_their_class() -> None:
    queue = RequestQueue(100)
    first, second = (queue.open(name, bulk=False, deadline=None) for name in "ab")
    bulk = queue.open("c", bulk=True, deadline=None)
    submitted = [(request, make_function()) for request in (bulk, second, first, second)]
    for request, call in submitted:
        queue.submit(request, call, items_per_second=1.0)
    taken = [queue.take_function(bulk=False) for _ in range(4)]
    assert taken == [*submitted[1:], None]
    assert queue.take_function(bulk=True) == submitted[0]
    assert queue.waiting == 0


def test_a_function_adds_nothing_to_the_service_count() -> None:
    queue = RequestQueue(100)
    request = queue.open("a", bulk=False, deadline=None)
    queue.submit(request, make_function(), items_per_second=1.0)
    queue.take_function(bulk=False)
    assert request.served == 0


def test_a_dropped_function_is_not_taken() -> None:
    queue = RequestQueue(100)
    left, closed = (queue.open(name, bulk=False, deadline=None) for name in "ab")
    calls = {request: make_function() for request in (left, closed)}
    for request, call in calls.items():
        queue.submit(request, call, items_per_second=1.0)
    assert (queue.drop(left, calls[left]), queue.close(closed)) == (1, 1)
    assert queue.take_function(bulk=False) is None
    assert queue.waiting == 0


def test_a_request_whose_function_waits_can_be_late() -> None:
    queue = RequestQueue(100)
    request = queue.open("a", bulk=False, deadline=10.0)
    queue.submit(request, make_function(), items_per_second=1.0)
    assert queue.find_late(now=10.0) == [request]
    assert not list(queue.find_waiting())
