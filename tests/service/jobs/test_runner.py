"""The rate of a job in every state, and its state after a failed run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backbones.errors import InvalidInput, ModelNotFound
from service.errors import StorageFailed
from service.jobs import runner as runner_module
from service.jobs.item_work import JobFailed
from service.jobs.records import Job
from service.jobs.runner import Runner, measure_speed
from service.tasks import TASKS

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
    now = measure_speed(RUNNING, 50.0)
    assert now.images_per_second == pytest.approx(2.0)
    assert now.seconds_left == pytest.approx(30.0)


def test_no_end_is_estimated_before_the_list_is_whole_and_enough_is_done() -> None:
    assert measure_speed(replace(RUNNING, listed=False), 50.0).seconds_left is None
    assert measure_speed(replace(RUNNING, done=18), 50.0).seconds_left is None


def test_a_job_that_has_ended_keeps_the_rate_of_its_last_run() -> None:
    ended = measure_speed(replace(RUNNING, status="done"), 5000.0)
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


async def begin(job: Job, store: Any, *, there: dict[str, str]) -> list[str | None]:
    """Begin a run on a server whose models have the revisions `there`, by id; returns the requested ids."""
    wanted: list[str | None] = []

    @asynccontextmanager
    async def prepare(*_: Any, model: str | None, long: bool) -> AsyncIterator[Any]:
        wanted.append(model)
        name = model or next(iter(there))
        if name not in there:
            raise ModelNotFound(f"there is no model {name!r} here")
        yield SimpleNamespace(loaded=SimpleNamespace(id=name), revision=there[name])

    settings = SimpleNamespace(
        jobs=SimpleNamespace(sources=(), max_document_bytes=1, images_at_once=1),
        limits=SimpleNamespace(max_upload_bytes=1, max_image_pixels=1),
        data_path=lambda: Path("nowhere"),
    )
    state: Any = SimpleNamespace(settings=settings, tasks=TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, "prepare", prepare)
        run = runner_module._Run(Runner(store, state), job)
        async with AsyncExitStack() as leases:
            await run._begin(leases)
    return wanted


def test_a_job_stays_with_the_model_that_it_began_on() -> None:
    noted: list[tuple[str, str, str]] = []
    store: Any = SimpleNamespace(set_model=lambda *values: noted.append(values))
    job = replace(RUNNING, source={"kind": "zip", "uploaded": True, "address": "a.zip"}, revision="", model="")
    assert asyncio.run(begin(job, store, there={"first": "r", "other": "s"})) == [None]
    assert noted == [("1", "first", "r")]
    begun = replace(job, revision="r", model="first")
    assert asyncio.run(begin(begun, store, there={"other": "s", "first": "r"})) == ["first"]
    assert asyncio.run(begin(replace(begun, model=""), store, there={"first": "r"})) == [None]  # of an older version
    assert len(noted) == 1


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"first": "new"}, "the model 'first' was replaced, .* began with r, and this server has new"),
        ({"other": "r"}, "belongs to the model 'first' with weights r: there is no model 'first' here"),
    ],
)
def test_a_job_whose_model_was_replaced_or_is_gone_says_so(there: dict[str, str], words: str) -> None:
    source = {"kind": "zip", "uploaded": True, "address": "a.zip"}
    with pytest.raises(JobFailed, match=words):
        asyncio.run(begin(replace(RUNNING, source=source, model="first"), None, there=there))
