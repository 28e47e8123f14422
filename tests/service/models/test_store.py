"""The models of a server: absent before the start, warm after it, released after the end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from backbones.backbone import Backbone
from backbones.errors import ModelNotFound
from backbones.loading.source import open_backbone
from heads.sdpose import pose
from heads.vpd import depth
from heads.vpd import heads as heads_of_vpd
from service.engine import host_cpu
from service.engine.worker import DeviceWorker
from service.errors import NotReady
from service.library import few_shot
from service.models import store as store_module
from service.models.slots import networks_of
from service.models.store import ModelStore
from service.settings.loader import load_settings
from service.tasks import TASKS, AnyTask
from service.telemetry.metrics import Metrics
from tests.conftest import WITHOUT_HEADS


def test_a_store_is_ready_from_its_start_to_its_end() -> None:
    store = ModelStore(load_settings(device="cpu"), [depth.TASK], Metrics())
    with pytest.raises(NotReady, match="being loaded"):
        store.for_task(depth.TASK)
    store.check_live()
    reported: list[BaseException | None] = []
    asyncio.run(store.start(reported.append))
    assert reported == [None]
    loaded = store.get_open(depth.TASK)
    assert loaded.backbone.name == store.backbone.name
    assert [model.task.name for model in store.list_open()] == ["depth"]
    store.stop()
    for call in (store.check_live, store.list_open):
        with pytest.raises(NotReady, match="stopping"):
            call()


def test_tables_of_the_settings_are_served_under_their_ids() -> None:
    heads = Path(heads_of_vpd.__file__).parents[1]
    tables = [
        {"id": "pocket"},
        {"id": "rooms", "task": "depth", "source": str(heads / "vpd/pocket/depth.safetensors")},
        {"id": "people", "task": "pose", "source": str(heads / "sdpose/pocket"), "pinned": True},
        {"id": "things", "task": "few-shot", "source": str(heads / "diffews/pocket")},
    ]
    tasks: tuple[AnyTask, ...] = (depth.TASK, pose.TASK, few_shot.TASK)
    store = ModelStore(load_settings(device="cpu", model_tables=tables), tasks, Metrics())
    asyncio.run(store.start())
    try:
        assert store.failure is None
        assert {name: slot.state for name, slot in store.slots.items()} == dict.fromkeys(store.slots, "READY")
        for task, name in ((depth.TASK, "rooms"), (pose.TASK, "people"), (few_shot.TASK, "things")):
            own, shipped = store.get_open(task, name), store.get_open(task, "pocket")
            assert (own.head.name, own.model) == (name, shipped.model)
            assert own.head.revision == shipped.head.revision
    finally:
        store.stop()


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Without Python's cyclic garbage collection, as `diffsight serve` keeps its first models from it.

    The first load imports libraries; the exceptions that they catch meanwhile hold frames until a collection.
    """
    open_backbone(str(WITHOUT_HEADS))
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
def test_an_unloaded_model_leaves_memory_at_once() -> None:
    async def run() -> None:
        tables = [{"id": "other", "source": str(WITHOUT_HEADS)}]
        store = ModelStore(load_settings(device="cpu", model_tables=tables), TASKS, Metrics())
        await store.start()
        try:
            with pytest.raises(ModelNotFound):  # as a request does for a task that has no weights
                store.get_open(depth.TASK)
            heads = store.slots["other"].heads
            assert heads is not None
            parts = [weakref.ref(part) for part in (heads.backbone, *networks_of(heads.backbone).values())]
            del heads
            store.unload("other")
            assert [part() for part in parts] == [None] * len(parts)
        finally:
            store.stop()

    asyncio.run(run())


def test_lanes_follow_the_models_that_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_cpu, "SMALL_NETWORK_PARAMETERS", 1_000_000)  # `pocket` is larger, the other is not
    monkeypatch.setattr(host_cpu, "_CORES", 4)
    monkeypatch.setattr(host_cpu, "_ALL_THREADS", 4)

    async def run() -> list[int]:
        tables = [{"id": "pocket"}, {"id": "other", "source": str(WITHOUT_HEADS)}]
        store = ModelStore(load_settings(device="cpu", model_tables=tables), [], Metrics())
        await store.start()
        try:
            lanes = [store.worker.lanes]
            store.unload("pocket")
            lanes.append(store.worker.lanes)
            await store.load("pocket")
            return [*lanes, store.worker.lanes]
        finally:
            store.stop()

    assert asyncio.run(run()) == [1, 4, 1]


@pytest.mark.usefixtures("no_collection")
def test_what_a_failed_load_has_read_leaves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[Backbone]] = []

    async def fail(worker: DeviceWorker, backbone: Backbone) -> None:
        read.append(weakref.ref(backbone))
        raise RuntimeError("CUDA error: no kernel image")

    monkeypatch.setattr(store_module, "warm_up", fail)
    store = ModelStore(load_settings(device="cpu", backbone=str(WITHOUT_HEADS)), TASKS, Metrics())
    asyncio.run(store.start())
    store.stop()
    assert [slot.state for slot in store.slots.values()] == ["UNAVAILABLE"]
    assert [backbone() for backbone in read] == [None]


def test_a_start_that_fails_is_kept_and_reported() -> None:
    store = ModelStore(load_settings(device="cpu", backbone="/nowhere/at/all"), [], Metrics())
    reported: list[BaseException | None] = []
    asyncio.run(store.start(reported.append))
    assert reported == [store.failure] != [None]
    with pytest.raises(NotReady, match="could not be loaded"):
        store.check_live()
