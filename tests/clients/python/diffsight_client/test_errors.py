"""The exceptions of the client."""

from __future__ import annotations

import pytest

import diffsight_client
from diffsight_client import errors

PROBLEM = {
    "type": "https://diffsight.dev/problems/invalid-input",
    "title": "Invalid input",
    "detail": "612 labels; one request takes 500",
    "hint": "send fewer",
    "field": "labels",
    "errors": [{"loc": ["labels"], "msg": "too many", "type": "too_long"}],
    "request_id": "abc",
}


def test_a_problem_carries_the_servers_words_and_its_hint() -> None:
    error = errors.server_problem(422, PROBLEM)
    assert isinstance(error, errors.RequestRefused)
    assert (error.status, error.kind, error.field, error.hint) == (422, "invalid-input", "labels", "send fewer")
    assert error.errors == PROBLEM["errors"]
    assert str(error) == "422 invalid-input, labels: 612 labels; one request takes 500; send fewer (request abc)"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AccessDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.RequestRefused),
        (429, errors.Busy),
        (503, errors.Busy),
        (504, errors.Busy),
        (500, errors.ServerFault),
        (507, errors.ServerFault),
        (418, errors.ServerFault),
    ],
)
def test_each_status_has_its_exception(status: int, kind: type[Exception]) -> None:
    error = errors.server_problem(status, {})
    assert type(error) is kind
    assert "no reason was given" in str(error)


def test_everything_that_is_raised_has_one_base() -> None:
    kinds = [member for member in vars(errors).values() if isinstance(member, type) and issubclass(member, Exception)]
    assert all(issubclass(kind, errors.ClientError) for kind in kinds)
    assert {kind.__name__ for kind in kinds} <= set(diffsight_client.__all__)
