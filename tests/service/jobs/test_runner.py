"""How fast a job goes at any state it may be in, and what becomes of it when its run fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from backbones.errors import InvalidInput
from service.errors import StorageFailed
from service.jobs import runner as runner_module
from service.jobs.records import Job
from service.jobs.runner import Runner, pace

RUNNING = Job(
    "1",
    "features",
    {},
    {},
    False,
    0.0,
    50.0,
    40.0,
    status="running",
    revision="r",
    listed=True,
    total=100,
    done=38,
    failed=2,
    resumed_finished=20,
    owner="o",
    leased_until=99.0,
)


def test_the_rate_is_that_of_the_present_run() -> None:
    now = pace(RUNNING, 50.0)
    assert now.images_per_second == pytest.approx(2.0)
    assert now.seconds_left == pytest.approx(30.0)


def test_nothing_is_promised_before_the_list_is_whole_or_anything_is_done() -> None:
    assert pace(replace(RUNNING, listed=False), 50.0).seconds_left is None
    assert pace(replace(RUNNING, done=18), 50.0).seconds_left is None


def test_a_job_that_has_ended_keeps_the_rate_of_its_last_run() -> None:
    ended = pace(replace(RUNNING, status="done"), 5000.0)
    assert ended.images_per_second == pytest.approx(2.0)
    assert ended.seconds_left is None


@pytest.mark.parametrize(
    ("error", "goes_on", "status"),
    [
        (StorageFailed("the disk is full"), False, None),
        (ExceptionGroup("of its tasks", [StorageFailed("the disk is full")]), False, None),
        (InvalidInput("source", "it is not there"), True, "failed"),
    ],
)
def test_a_job_whose_disk_is_full_waits_and_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, goes_on: bool, status: str | None
) -> None:
    class Run:
        def __init__(self, *_: Any) -> None: ...

        async def all(self) -> None:
            raise error

    released: list[str | None] = []

    def release(job_id: str, owner: str, *, status: str | None, error: str) -> None:
        released.append(status)

    monkeypatch.setattr(runner_module, "_Run", Run)
    store: Any = SimpleNamespace(release=release)
    state: Any = SimpleNamespace(settings=None)
    assert asyncio.run(Runner(store, state).run(RUNNING)) is goes_on
    assert released == [status]
