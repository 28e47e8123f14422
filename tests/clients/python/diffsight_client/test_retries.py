"""How long the client waits for a busy server."""

from __future__ import annotations

import pytest

from diffsight_client import Busy, Retries, ServerProblem
from diffsight_client.errors import server_problem
from diffsight_client.retries import Waits


def busy(retry_after: float | None = None, status: int = 429) -> ServerProblem:
    return server_problem(status, {"detail": "much waits"}, retry_after)


def test_the_server_says_how_long() -> None:
    waits = Waits(Retries())
    assert [waits.after(busy(2.0)), waits.after(busy(3.0, 503))] == [2.0, 3.0]


def test_without_retry_after_each_wait_is_twice_the_last() -> None:
    waits = Waits(Retries(first_wait=0.5))
    assert [waits.after(busy()) for _ in range(3)] == [0.5, 1.0, 2.0]


def test_a_request_is_not_retried_more_often_than_the_setting() -> None:
    waits = Waits(Retries(times=2))
    waits.after(busy(0.0))
    waits.after(busy(0.0))
    with pytest.raises(Busy):
        waits.after(busy(0.0))


def test_a_wait_that_would_be_too_long_is_not_begun() -> None:
    waits = Waits(Retries(seconds=10))
    assert waits.after(busy(7.0)) == 7.0
    with pytest.raises(Busy, match="much waits"):
        waits.after(busy(4.0))


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 504])
def test_other_problems_are_raised_at_once(status: int) -> None:
    with pytest.raises(ServerProblem):
        Waits(Retries()).after(busy(0.0, status))
