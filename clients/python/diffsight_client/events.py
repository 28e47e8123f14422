"""Server-sent events, read line by line (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from diffsight_client.calls import Call, read_answer
from diffsight_client.errors import ClientError, Unreachable, server_problem

Progress = TypeVar("Progress", bound=BaseModel)
Final = TypeVar("Final", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. name: `progress`, `answer` or `problem`. data: its JSON."""

    name: str
    data: str


@dataclass(slots=True)
class EventReader:
    """Joins lines to events."""

    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """The event that this line completes, or None."""
        if not line:
            event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        return None


def read_event(event: Event, call: Call[Final], progress: type[Progress]) -> Progress | Final | None:
    """The intermediate result, or the answer, of an event; None for other events. Raises ClientError for a problem."""
    if event.name == "problem":
        raise _problem_of(event)
    if event.name == "answer":
        return read_answer(call, event.data.encode())
    return progress.model_validate_json(event.data) if event.name == "progress" else None


def _problem_of(event: Event) -> ClientError:
    try:
        problem: dict[str, Any] = json.loads(event.data)
        return server_problem(int(problem.get("status", 500)), problem)
    except (ValueError, TypeError, AttributeError):
        return ClientError(f"a problem event that cannot be read: {event.data[:200]}")


def cut_stream(path: str) -> Unreachable:
    """The exception for a stream that ends before its answer."""
    return Unreachable(f"{path}: the connection ended before the answer came")
