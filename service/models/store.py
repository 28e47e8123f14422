"""The models of one server: loaded on a thread of their own while the server already answers, then warm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
import torch

from backbones.backbone import Backbone, Description
from backbones.errors import DiffsightError
from backbones.rows import Capture, UNetRow
from heads.task import Task
from service.engine.worker import DeviceWorker
from service.errors import NotReady
from service.models.loading import OpenHeads, open_served
from service.settings.loader import Settings
from service.telemetry.metrics import Metrics

log = structlog.get_logger("diffsight")

Result = TypeVar("Result")
Started = Callable[[BaseException | None], None]
"""Called once when start-up ends: with None when the server is ready, else with why it never will be."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A task's model, open. head: what the task's `open` returned. backbone: the network that it runs on."""

    task: Task[Any, Any, Any]
    head: Any
    backbone: Description


class ModelStore:
    """The backbone, the heads of all tasks, and the worker that runs them. failure: why start-up failed."""

    def __init__(self, settings: Settings, tasks: Iterable[Task[Any, Any, Any]], metrics: Metrics) -> None:
        self.settings = settings
        self.tasks = tuple(tasks)
        self.metrics = metrics
        self.failure: BaseException | None = None
        self._heads: OpenHeads | None = None
        self._worker: DeviceWorker | None = None
        self._ready = False
        self._stopped = False

    @property
    def worker(self) -> DeviceWorker:
        """The warm worker. Raises NotReady before that, after a failed start, and once its device thread has died."""
        if self.failure is not None:
            raise NotReady("the backbone could not be loaded", hint="the server's log says why")
        if self._stopped:
            raise NotReady("the server is stopping", hint="ask again when it is back")
        if self._worker is None or not self._ready:
            raise NotReady("the backbone is being loaded", hint="ask again when /health/ready answers 200")
        if not self._worker.alive:
            raise NotReady("the device's worker has stopped", hint="restart the server; its log says why")
        return self._worker

    @property
    def backbone(self) -> Description:
        """The backbone that is served. Raises NotReady as `worker` does."""
        return self.worker.model.description

    def for_task(self, task: Task[Any, Any, Any]) -> Loaded:
        """The model of a task. Raises NotReady as `worker` does, and ModelNotFound where the task has none here."""
        backbone = self.backbone
        assert self._heads is not None
        return Loaded(task, self._heads.require(task), backbone)

    def loaded(self) -> list[Loaded]:
        """The models of all tasks that have one. Raises NotReady as `worker` does."""
        backbone = self.backbone
        assert self._heads is not None
        heads = ((task, self._heads.find(task)) for task in self.tasks)
        return [Loaded(task, head, backbone) for task, head in heads if head is not None]

    def check_live(self) -> None:
        """Raises NotReady where only a restart can help: a failed start, or a dead device thread."""
        if self.failure is not None or self._ready:
            _ = self.worker

    async def start(self, on_started: Started | None = None) -> None:
        """Open the models, start the worker and warm it up. A failure is kept and reported, not raised."""
        try:
            self._heads = await run_on_own_thread(self._open)
            backbone = self._heads.backbone
            self._worker = build_worker(backbone, self.settings)
            self._worker.on_batch = self.metrics.count_batch
            self.metrics.watch(self._worker.figures)
            self._worker.start()
            await warm_up(self._worker)
        except Exception as error:
            self.failure = error
            fields = {"exc_info": error} if not isinstance(error, DiffsightError) else {"error": str(error)}
            log.error("start-up failed", backbone=self.settings.backbone, **fields)
        else:
            self._ready = True
            log.info("ready", backbone=backbone.description.name, device=str(backbone.description.device))
        if on_started is not None:
            on_started(self.failure)

    def _open(self) -> OpenHeads:
        heads = OpenHeads(self.settings, open_served(self.settings), self.tasks)
        heads.open_all()
        return heads

    def stop(self) -> None:
        """End the worker; what waits in it is answered with Cancelled."""
        self._stopped = True
        if self._worker is not None:
            self._worker.stop()


def build_worker(backbone: Backbone, settings: Settings) -> DeviceWorker:
    """The worker over a backbone, not yet started."""
    engine = settings.engine
    return DeviceWorker(
        backbone,
        max_batch_rows=engine.max_batch_rows,
        max_waiting_rows=engine.max_waiting_rows,
        max_waiting_bytes=engine.max_waiting_bytes,
        context_cache_bytes=engine.context_cache_bytes,
        latent_cache_bytes=engine.latent_cache_bytes,
    )


async def warm_up(worker: DeviceWorker) -> None:
    """One encode, one embed and U-Net batches, so that the first caller does not pay for what only happens once."""
    model = worker.model.description
    side = model.image_size // model.downscale
    with worker.session("warm-up") as session:
        await session.encode([torch.zeros(3, model.image_size, model.image_size)])
        context = (await session.embed([""]))[0] if model.max_tokens else None
        row = UNetRow(
            latents=torch.zeros(model.latent_channels, side, side, dtype=model.dtype, device=model.device),
            timestep=0,
            encoder_hidden_states=context,
            capture=Capture(noise_pred=True),
            class_label=0 if model.num_class_labels else None,
        )
        # Every size of batch has kernels of its own to be chosen on a GPU; on a CPU one row shows that it works.
        largest = 32 if model.device.type == "cuda" else 1
        size = 1
        while size <= largest:
            await session.unet([row] * size)
            size *= 2


async def run_on_own_thread(work: Callable[[], Result]) -> Result:
    """`work()` on a daemon thread, so that a server that is stopped does not wait for a download to end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="open backbone", daemon=True).start()
    return await future
