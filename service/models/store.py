"""The models of one server: loaded when needed, kept while in use, and unloaded to make room.

Everything here runs on the event loop; only weights are read on a separate thread. A user of a model holds a lease on
it, and a leased model is not unloaded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from traceback import clear_frames
from typing import Any

import structlog
import torch

from backbones.backbone import Description
from backbones.errors import DiffsightError, InvalidInput, ModelNotFound
from backbones.loading.source import check_device
from service.engine.worker import DeviceWorker
from service.errors import ModelInUse, NotReady
from service.models.catalogue import ModelSpec, build_catalogue, list_left_out, names_models, old_settings
from service.models.changes import Changes
from service.models.host_memory import HeldModel, HostMemory
from service.models.loading import choose_device
from service.models.room import check_fits_ever, choose_room
from service.models.sizes import default_budget, estimate_bytes, host_budget
from service.models.slots import (
    AnyTask,
    Loaded,
    Slot,
    add_variants,
    choose_slot,
    describe_progress,
    find_slot,
    install,
    measure,
    open_backbones,
    read_model,
    share_parts,
)
from service.models.start_up import build_worker, keep_costs, prepare_lanes, report_start, run_on_own_thread, warm_up
from service.settings.loader import Settings
from service.telemetry.metrics import Metrics

log = structlog.get_logger("diffsight")

Started = Callable[[BaseException | None], None]
"""Called once when start-up ends: with None if the server is ready, else with the error."""

_LEFT = "it left for other models; a request loads it again"
_UNLOADED = "it was unloaded; a request loads it again"
# Most seconds until a wait checks the stay of a busy model again.
_LOOK_SECONDS = 0.5


class ModelStore:
    """Every model of the catalogue, and the worker of the device. failure: why start-up failed."""

    def __init__(self, settings: Settings, tasks: Iterable[AnyTask], metrics: Metrics) -> None:
        self.on_device_lost: Callable[[Exception], None] | None = None
        self.settings = settings
        self.tasks = tuple(tasks)
        self.metrics = metrics
        self.failure: BaseException | None = None
        self.budget_bytes = settings.engine.memory_bytes
        self.slots: dict[str, Slot] = {}
        self.host = HostMemory()
        self._worker: DeviceWorker | None = None
        self._ready = self._stopped = False
        self.changes = Changes()

    @property
    def worker(self) -> DeviceWorker:
        """The warm worker. Raises NotReady before that, after a failed start, and once its device thread has died."""
        if self.failure is not None:
            raise NotReady("the backbone could not be loaded", hint="the server's log says why")
        if self._stopped:
            raise NotReady("the server is stopping", hint="send it again when the server is back")
        if self._worker is None or not self._ready:
            message = "the backbone is being loaded" + describe_progress(self.slots.values())
            raise NotReady(message, hint="send it again when /health/ready answers 200")
        if not self._worker.alive:
            raise NotReady("the device's worker has stopped", hint="restart the server; its log says why")
        if self._worker.restarting:
            raise NotReady("the device's worker failed and is being restarted", hint="send it again in a few seconds")
        return self._worker

    @property
    def backbone(self) -> Description:
        """The default backbone: the first of the catalogue that was loaded. Raises NotReady as `worker` does."""
        _ = self.worker
        return next(slot.description for slot in self.slots.values() if slot.description is not None)

    def find(self, name: str) -> Slot:
        """The model of this id. Raises ModelNotFound for another."""
        return find_slot(self.slots, name)

    def for_task(self, task: AnyTask, model: str | None = None) -> ModelSpec:
        """The model that a request for `task` runs on: the one it names, else the first of the catalogue that can.

        Raises NotReady as `worker` does, and ModelNotFound where no model, or not the named one, serves the task.
        """
        _ = self.worker
        return choose_slot(self.slots, task, model).spec

    def revisions(self) -> dict[str, str]:
        """Ids of the backbones that were loaded, by the revision of their weights. Raises NotReady as `worker` does."""
        _ = self.worker
        pairs = [(slot.description.revision, slot.spec.id) for slot in self.slots.values() if slot.description]
        return dict(reversed(pairs))  # of two with the same weights the first

    def get_open(self, task: AnyTask, model: str | None = None) -> Loaded:
        """A model of a task that is open now, without a lease. Raises as `for_task` does, and NotReady where it is not.

        Only to read its properties: to run it, call `use`.
        """
        slot = self.find(self.for_task(task, model).id)
        if slot.state != "READY":
            raise NotReady(f"the model {slot.spec.id!r} is not loaded now: {slot.reason}", hint="send a request to it")
        return slot.open_for(task, self.backbone_of(slot))

    def list_open(self) -> list[Loaded]:
        """The default models of all tasks that are open now. Raises NotReady as `worker` does."""
        _ = self.worker
        models = []
        for task in self.tasks:
            with suppress(ModelNotFound, NotReady):
                models.append(self.get_open(task))
        return models

    def check_live(self) -> None:
        """Raises NotReady if only a restart can help: a failed start, or a dead device thread."""
        restarting = self._worker is not None and self._worker.alive and self._worker.restarting
        if (self.failure is not None or self._ready) and not restarting:
            _ = self.worker

    def backbone_of(self, slot: Slot) -> Slot:
        """The slot of the backbone that a model runs on; its own for a backbone."""
        return self.slots[slot.spec.backbone]

    @asynccontextmanager
    async def use(
        self, task: AnyTask, model: str | None = None, *, seconds: float | None = None, long: bool = False
    ) -> AsyncIterator[Loaded]:
        """A lease on the model of a task, which is loaded first if necessary.

        seconds: how long that may take. long: a lease of minutes or more, such as a job's: requests do not wait for its
        end. Raises the errors of `for_task` and of the load, and NotReady if it is not loaded in time.
        """
        slot = self.find(self.for_task(task, model).id)
        async with self._lease(slot, seconds, long=long):
            yield slot.open_for(task, self.backbone_of(slot))

    async def load(self, name: str, seconds: float | None = None) -> None:
        """Load a model now. Raises as `use` does."""
        slot = self.find(name)
        _ = self.worker
        for member in (self.backbone_of(slot), slot):
            member.failure = None  # a request to load it by name tries again after a failure
        async with self._lease(slot, seconds):
            pass

    def unload(self, name: str, *, keep: bool = False) -> None:
        """Unload a model and all models that run on it. Raises ModelInUse if it is in use or pinned.

        keep: whether the weights stay in host memory, if that has room for them.
        """
        slot = self.find(name)
        group = [other for other in self.slots.values() if other is slot or other.spec.backbone == name]
        for member in group:
            if member.spec.pinned:
                raise ModelInUse(f"{member.spec.id!r} is pinned", hint="remove it from the setting pinned_models")
            if member.users or member.state == "LOADING":
                raise ModelInUse(f"{member.spec.id!r} is in use", hint="try again when its requests have ended")
        for member in sorted(group, key=lambda member: member is slot):
            if member.state == "READY":
                self._evict(member, _UNLOADED, keep=keep)
            elif not keep:
                self.host.drop(member.spec.id)

    async def start(self, on_started: Started | None = None) -> None:
        """Start the worker and load what fits, in the catalogue's order.

        A failure is stored and reported, not raised: no backbone opens, or not the one that the settings name.
        """
        reporting = asyncio.create_task(report_start(lambda: describe_progress(self.slots.values())))
        try:
            await self._start()
        except Exception as error:
            self.failure = error
            fields = {"exc_info": error} if not isinstance(error, DiffsightError) else {"error": str(error)}
            log.error("start-up failed", backbone=self.settings.backbone, **fields)
        else:
            self._ready = True
            log.info("ready", backbone=self.backbone.name, device=str(self.backbone.device), models=list(self.slots))
        finally:
            reporting.cancel()
        if on_started is not None:
            on_started(self.failure)

    def work_done(self) -> float:
        """Seconds that the device has worked since the start. They do not change while the server is idle."""
        return 0.0 if self._worker is None else self._worker.figures().device_seconds_total

    def stop(self) -> None:
        """Stop the worker; waiting calls are answered with Cancelled."""
        self._stopped = True
        self.host = HostMemory()
        if self._worker is not None:
            self._worker.stop()
            keep_costs(self._worker, self.settings)

    async def _start(self) -> None:
        settings = self.settings
        for spec in await asyncio.to_thread(build_catalogue, settings):
            self.slots[spec.id] = Slot(spec)
        for line in [*list_left_out(settings), *old_settings(settings)]:
            log.warning(line)
        device = check_device(choose_device(settings.device))
        self.budget_bytes = self.budget_bytes or default_budget(device)
        self.host.budget_bytes = host_budget(settings, device, self.budget_bytes)
        self._worker = build_worker(settings)
        self._worker.on_batch = self.metrics.count_batch
        self._worker.on_stopped = self.on_device_lost
        self.metrics.watch(self._worker.figures)
        self._worker.start()
        for slot in self.slots.values():
            slot.bytes = await asyncio.to_thread(estimate_bytes, slot.spec, settings, device)
        for slot in sorted(self.slots.values(), key=lambda slot: bool(slot.spec.task)):
            free = self.budget_bytes - sum(other.bytes for other in self.slots.values() if other.is_open())
            fits = slot.bytes <= free or self._may_exceed()
            if not fits or (slot.spec.task and not self.backbone_of(slot).is_open()):
                continue
            try:
                await self._load(slot)
            except Exception:
                if names_models(settings):
                    raise
        if all(slot.description is None for slot in self.slots.values()):
            raise next((slot.failure for slot in self.slots.values() if slot.failure), None) or InvalidInput(
                "engine.memory_bytes",
                f"no backbone fits into {self.budget_bytes:,} bytes",
                hint="raise the limit, or serve smaller models: `diffsight models list`",
            )

    @asynccontextmanager
    async def _lease(self, slot: Slot, seconds: float | None, *, long: bool = False) -> AsyncIterator[None]:
        """Hold a lease on a model and its backbone; they are loaded first if necessary."""
        members = dict.fromkeys((self.backbone_of(slot), slot))
        held: list[Slot] = []
        try:
            with suppress(TimeoutError):  # as in `run_procedure`
                async with asyncio.timeout(seconds):
                    for member in members:
                        await self._open(member)
                        member.users += 1
                        member.long += long
                        held.append(member)
            if len(held) < len(members):
                raise NotReady(
                    f"the model {slot.spec.id!r} is not loaded within {seconds:g} seconds: {slot.reason}",
                    hint="send it again when GET /v1/models says that it is READY",
                    retry_after_seconds=max(1.0, slot.load_seconds),
                )
            yield
        finally:
            for member in held:
                member.users -= 1
                member.long -= long
                member.last_used = time.monotonic()
            self.changes.notify()

    async def _open(self, slot: Slot) -> None:
        """Wait until a model is loaded and accepts users; load it if necessary. Raises NotReady if that failed."""
        while slot.state != "READY" or slot.draining:
            if slot.draining:
                await self.changes.wait(_LOOK_SECONDS)
                continue
            if slot.failure is not None:
                raise NotReady(
                    f"the model {slot.spec.id!r} could not be loaded: {slot.reason}",
                    hint=f"correct the cause, then POST /v1/models/{slot.spec.id}/load",
                )
            if slot.loading is None:
                slot.loading = asyncio.create_task(self._load(slot))
                # No request may wait any more: the failure is stored in the slot and must not stay unretrieved in the
                # task.
                slot.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
            with suppress(Exception):  # the slot holds the error
                await asyncio.shield(slot.loading)

    async def _load(self, slot: Slot) -> None:
        """Make room, read, warm up: once for all waiting requests. Raises the errors of opening."""
        backbone = self.backbone_of(slot)
        slot.state, slot.reason, slot.failure = "LOADING", "it waits for room on the device", None
        for member in dict.fromkeys((backbone, slot)):
            member.users += 1
        try:
            await self._bring_in(slot, backbone)
        except BaseException as error:
            expected = isinstance(error, DiffsightError)
            slot.close(backbone, str(error) if expected else "see the server's log")
            clear_frames(error.__traceback__)  # they would keep what was read so far in memory
            slot.failure = error if isinstance(error, Exception) else None
            log.error("a model could not be loaded", model=slot.spec.id, error=str(error), exc_info=not expected)
            raise
        else:
            slot.state, slot.reason = "READY", ""
            log.info("loaded", model=slot.spec.id, seconds=round(slot.load_seconds, 2), bytes=slot.bytes)
        finally:
            for member in dict.fromkeys((backbone, slot)):
                member.users -= 1
            slot.loading, slot.reading = None, False
            if not any(other.state == "LOADING" for other in self.slots.values()):
                for other in self.slots.values():
                    other.draining = False  # their room is not needed any more
            self.changes.notify()

    async def _bring_in(self, slot: Slot, backbone: Slot) -> None:
        """Make room for a model, read it, and warm it up. Raises the errors of opening."""
        assert self._worker is not None
        await self.host.settle()
        # Taken first: models that are unloaded for it must not evict it from host memory.
        held = self.host.take(slot.spec.id, None if slot is backbone else backbone.revision)
        await self._make_room(slot)
        slot.reason = "its weights are being read"
        log.info("loading", model=slot.spec.id, bytes=slot.bytes)
        started = time.monotonic()
        before = backbone.variant_names()
        slot.reading = True
        opened = await run_on_own_thread(lambda: self._bring(slot, backbone, held), gently=self._ready)
        install(slot, backbone, opened, before)
        self._account()
        if slot is backbone and slot.heads is not None:
            prepare_lanes(self._worker, open_backbones(self.slots.values()), self.settings)
            # A model from host memory was warmed up before.
            if held is None:
                await warm_up(self._worker, slot.heads.backbone)
        slot.loaded_at = slot.last_used = time.monotonic()
        slot.load_seconds, slot.loads = slot.loaded_at - started, slot.loads + 1
        slot.loads_from_host += held is not None

    def _bring(self, slot: Slot, backbone: Slot, held: HeldModel | None) -> Any:
        """A model from host memory or from files; blocks, on a separate thread. Returns the arguments of `install`."""
        if held is None:
            return read_model(slot, self.slots, self.settings, self.tasks)
        held.return_to_device()
        if slot is backbone:
            share_parts(held.opened.backbone, self.slots.values())
        elif backbone.heads is not None:
            add_variants(backbone.heads.backbone, held.variants)
        return held.opened

    def _account(self) -> None:
        """Measure the bytes of every open model."""
        sizes = measure(self.slots.values())
        for slot in self.slots.values():
            if slot.is_open():
                slot.bytes = sizes.get(slot.spec.id, 0)

    async def _make_room(self, slot: Slot) -> None:
        """Unload other models until the slot fits; wait for models in use. Raises InvalidInput if it never fits."""
        if not self._may_exceed():
            check_fits_ever(self.slots, slot, self.budget_bytes)
            while not self._make_room_now(slot):
                await self.changes.wait(_LOOK_SECONDS)
        await self.host.settle()

    def _may_exceed(self) -> bool:
        """Whether to try a model that does not fit: only the first one, if no setting bounds the memory."""
        return not self.settings.engine.memory_bytes and not any(slot.is_open() for slot in self.slots.values())

    def _make_room_now(self, slot: Slot) -> bool:
        """Whether the slot fits now, after idle models were unloaded. If not, busy models accept no new users."""
        room = choose_room(self.slots, slot, self.budget_bytes, time.monotonic())
        for name in room.leaving or ():
            self._evict(self.slots[name], _LEFT, keep=True)
        for name in room.draining:
            self.slots[name].draining = True
        return room.leaving is not None

    def _evict(self, slot: Slot, reason: str, *, keep: bool) -> None:
        """Unload a model. keep: whether it stays in host memory if that has room."""
        backbone = self.backbone_of(slot)
        assert backbone.description is not None
        opened, variants = slot.close(backbone, reason)
        self.host.drop(slot.spec.id)
        if keep:
            held = HeldModel(opened, variants, backbone.revision, slot.bytes, backbone.description.device)
            self.host.keep(slot.spec.id, held)
        self._account()
        if slot is backbone and self._worker is not None:
            prepare_lanes(self._worker, open_backbones(self.slots.values()), self.settings)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.info("unloaded", model=slot.spec.id, reason=reason, bytes_in_host_memory=self.host.bytes_of(slot.spec.id))
        self.changes.notify()
