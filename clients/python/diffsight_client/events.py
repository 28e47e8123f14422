"""Server-sent events, read line by line (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from diffsight_client.errors import ClientError, Unreachable, server_problem


@dataclass(frozen=True, slots=True)
class Event:
    """One event. name: `progress`, `answer` or `problem`. data: its JSON."""

    name: str
    data: str


@dataclass(slots=True)
class EventReader:
    """Puts lines together to events."""

    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """The event that this line ends, None while one is incomplete."""
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


def raise_problem(event: Event) -> None:
    """Raises the problem of a `problem` event; other events are none."""
    if event.name != "problem":
        return
    try:
        problem: dict[str, Any] = json.loads(event.data)
        status = int(problem.get("status", 500))
    except (ValueError, TypeError, AttributeError) as error:
        raise ClientError(f"a problem event that cannot be read: {event.data[:200]}") from error
    raise server_problem(status, problem)


def cut_stream(path: str) -> Unreachable:
    """For a stream that ends before its answer."""
    return Unreachable(f"{path}: the connection ended before the answer came")
