"""The models of a server: not there before the start, warm after it, and gone for good after the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from heads.vpd import depth
from service.errors import NotReady
from service.models.store import ModelStore, run_on_own_thread
from service.settings.loader import load_settings
from service.telemetry.metrics import Metrics


def test_a_store_is_ready_from_its_start_to_its_end() -> None:
    store = ModelStore(load_settings(device="cpu"), [depth.TASK], Metrics())
    with pytest.raises(NotReady, match="being loaded"):
        store.for_task(depth.TASK)
    store.check_live()
    reported: list[BaseException | None] = []
    asyncio.run(store.start(reported.append))
    assert reported == [None]
    loaded = store.for_task(depth.TASK)
    assert loaded.backbone.name == store.backbone.name
    assert [one.task.name for one in store.loaded()] == ["depth"]
    store.stop()
    for call in (store.check_live, store.loaded):
        with pytest.raises(NotReady, match="stopping"):
            call()


def test_a_start_that_fails_is_kept_and_reported() -> None:
    store = ModelStore(load_settings(device="cpu", backbone="/nowhere/at/all"), [], Metrics())
    reported: list[BaseException | None] = []
    asyncio.run(store.start(reported.append))
    assert reported == [store.failure] != [None]
    with pytest.raises(NotReady, match="could not be loaded"):
        store.check_live()


def test_work_on_its_own_thread_gives_back_results_and_errors() -> None:
    def fail() -> None:
        raise ValueError("wrong")

    assert asyncio.run(run_on_own_thread(threading.current_thread)) is not threading.current_thread()
    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(run_on_own_thread(fail))
