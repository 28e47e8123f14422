"""Server-sent events."""

from __future__ import annotations

import pytest

from diffsight_client import ClientError, ServerProblem, Unreachable
from diffsight_client.calls import Call
from diffsight_client.events import Event, EventReader, cut_stream, read_event
from diffsight_client.models import LiveAnswer, ReadyAnswer

CALL = Call("POST", "/v1/depth/events", LiveAnswer.model_validate_json)


def test_lines_make_events_and_comments_make_none() -> None:
    reader = EventReader()
    lines = [": still here", "", "event: progress", "data: {", "data: }", "", "data:1", ""]
    events = [event for line in lines if (event := reader.feed(line)) is not None]
    assert events == [Event("progress", "{\n}"), Event("message", "1")]


def test_progress_and_answer_are_distinguished() -> None:
    assert read_event(Event("progress", '{"status": "ready"}'), CALL, ReadyAnswer) == ReadyAnswer()
    assert read_event(Event("answer", '{"status": "live"}'), CALL, ReadyAnswer) == LiveAnswer()
    assert read_event(Event("message", "{}"), CALL, ReadyAnswer) is None


def test_a_problem_is_raised_with_its_hint() -> None:
    with pytest.raises(ServerProblem, match="be quick") as raised:
        read_event(Event("problem", '{"status": 504, "detail": "too late", "hint": "be quick"}'), CALL, ReadyAnswer)
    assert raised.value.status == 504


@pytest.mark.parametrize("data", ["no JSON", "[]", '{"status": "late"}'])
def test_a_problem_that_cannot_be_read_is_one_all_the_same(data: str) -> None:
    with pytest.raises(ClientError):
        read_event(Event("problem", data), CALL, ReadyAnswer)


def test_a_stream_that_ends_early_says_which() -> None:
    assert isinstance(cut_stream("/v1/depth/events"), Unreachable)
    assert "/v1/depth/events" in str(cut_stream("/v1/depth/events"))
