"""A job, its items and their results, as the store reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNFINISHED = ("queued", "running")


@dataclass(frozen=True, slots=True)
class Job:
    """The state of a job. status: queued, running, paused, done or failed. Times are seconds since 1970.

    model, revision: of the weights that its results come from; empty before the first run.
    """

    id: str
    task: str
    parameters: Mapping[str, Any]
    source: Mapping[str, Any]
    local: bool
    created: float
    updated: float
    resumed: float
    status: str = "queued"
    error: str = ""
    revision: str = ""
    model: str = ""
    listed: bool = False
    total: int = 0
    done: int = 0
    failed: int = 0
    reused: int = 0
    resumed_finished: int = 0
    owner: str = ""
    leased_until: float = 0.0
    crashes: int = 0

    @property
    def finished(self) -> int:
        return self.done + self.failed


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a job. name: its name in results. given: properties from its source, such as boxes."""

    position: int
    name: str
    address: str
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an item ended: under `key` with a result (None if the key has one already), or with the reason why not."""

    position: int
    key: str = ""
    result: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A finished item, for readers. result: None if it failed, and `error` says why."""

    position: int
    name: str
    given: Mapping[str, Any]
    key: str
    result: Mapping[str, Any] | None
    error: str
