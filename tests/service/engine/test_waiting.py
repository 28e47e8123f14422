"""The line's bound, its dropping, and its memory of turns."""

from __future__ import annotations

import pytest

from backbones.errors import Overloaded
from service.engine.waiting import Asking, WaitingLine


def ten_texts() -> Asking:
    return Asking("embed", ["text"] * 10, lambda answer: None)


def test_a_newcomer_that_would_pass_the_bound_is_refused_with_a_time() -> None:
    line = WaitingLine(15)
    line.ask(line.open("a", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    with pytest.raises(Overloaded) as refused:
        line.ask(line.open("b", bulk=False, deadline=None), ten_texts(), items_per_second=2.0)
    assert refused.value.retry_after_seconds == 5.0
    assert line.waiting == 10


def test_whoever_is_in_may_ask_on_past_the_bound() -> None:
    line = WaitingLine(15)
    request = line.open("a", bulk=False, deadline=None)
    line.ask(request, ten_texts(), items_per_second=1.0)
    line.ask(request, ten_texts(), items_per_second=1.0)
    assert line.waiting == 20


def test_an_empty_line_takes_more_than_its_bound() -> None:
    line = WaitingLine(5)
    line.ask(line.open("a", bulk=False, deadline=None), ten_texts(), items_per_second=1.0)
    assert line.waiting == 10


def test_closing_a_request_drops_what_waits_of_it() -> None:
    line = WaitingLine(100)
    request = line.open("a", bulk=False, deadline=None)
    asking = ten_texts()
    line.ask(request, asking, items_per_second=1.0)
    line.take(request, asking)
    assert line.close(request) == 9
    assert line.waiting == 0
    assert not list(line.in_line())


def test_a_request_that_comes_back_has_saved_up_no_turns() -> None:
    line = WaitingLine(100)
    busy, idle = (line.open(name, bulk=False, deadline=None) for name in "ab")
    asking = ten_texts()
    line.ask(busy, asking, items_per_second=1.0)
    for _ in range(5):
        line.take(busy, asking)
    line.ask(idle, ten_texts(), items_per_second=1.0)
    assert idle.served == busy.served == 5.0


def test_only_waiting_requests_can_be_late() -> None:
    line = WaitingLine(100)
    waiting, idle = (line.open(name, bulk=False, deadline=10.0) for name in "ab")
    line.ask(waiting, ten_texts(), items_per_second=1.0)
    assert line.late(now=9.0) == []
    assert line.late(now=10.0) == [waiting]
    assert idle.waiting == 0
