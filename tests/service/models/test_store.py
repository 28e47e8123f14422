"""The models of a server: not there before the start, warm after it, and gone for good after the end."""

from __future__ import annotations

import asyncio

import pytest

from heads.vpd import depth
from service.errors import NotReady
from service.models.store import ModelStore
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
    loaded = store.opened(depth.TASK)
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
