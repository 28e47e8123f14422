"""Start-up of a model: a thread to read it on, and a first batch of every kind."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import structlog
import torch

from backbones.backbone import Backbone
from backbones.rows import Capture, UNetRow
from service.engine.host_cpu import count_lanes, count_threads, prepare_thread
from service.engine.kept_costs import FILE, describe_machine, read_costs, write_costs
from service.engine.worker import DeviceWorker
from service.models.loading import choose_device
from service.models.slots import networks_of
from service.settings.loader import Settings

Result = TypeVar("Result")

# A load gets a tenth of a core that it shares with requests, and a whole idle core.
_LOADING_NICENESS = 10
# Seconds between lines of the log while the server starts.
_REPORT_SECONDS = 5.0

log = structlog.get_logger("diffsight")


def build_worker(settings: Settings, backbone: Backbone | None = None) -> DeviceWorker:
    """The worker of a device, not yet started, with the costs of batches that an earlier one measured.

    backbone: of sessions that name none.
    """
    engine, device = settings.engine, choose_device(settings.device)
    worker = DeviceWorker(
        backbone,
        max_batch_rows=engine.max_batch_rows,
        max_batch_seconds=engine.max_batch_seconds,
        max_waiting_rows=engine.max_waiting_rows,
        max_waiting_bytes=engine.max_waiting_bytes,
        context_cache_bytes=engine.context_cache_bytes,
        latent_cache_bytes=engine.latent_cache_bytes,
        functions_on_host=device.startswith("cpu"),
    )
    worker.limits.restore(read_costs(settings.data_path().expanduser() / FILE, describe_machine(device)))
    return worker


def keep_costs(worker: DeviceWorker, settings: Settings) -> None:
    """Write what a worker has measured for the next start."""
    machine = describe_machine(choose_device(settings.device))
    write_costs(settings.data_path().expanduser() / FILE, machine, worker.limits.costs())


def prepare_lanes(worker: DeviceWorker, backbones: Iterable[Backbone], settings: Settings) -> None:
    """Set up the worker's lanes, and torch's threads in each, for all open backbones together."""
    networks = [network for backbone in backbones for network in networks_of(backbone).values()]
    threads, device = count_threads(networks, settings), choose_device(settings.device)
    prepare = partial(prepare_thread, threads, on_cpu=device.startswith("cpu"))
    worker.prepare_lanes(count_lanes(threads, settings, device), prepare)


async def warm_up(worker: DeviceWorker, backbone: Backbone) -> None:
    """One encode, one embed and U-Net batches, so that the first request does not pay the costs of a first batch."""
    model = backbone.description
    side = model.image_size // model.downscale
    with worker.session("warm-up", backbone=backbone) as session:
        await session.encode([torch.zeros(3, model.image_size, model.image_size)])
        context = (await session.embed([""]))[0] if model.max_tokens else None
        row = UNetRow(
            latents=torch.zeros(model.latent_channels, side, side, dtype=model.dtype, device=model.device),
            timestep=0,
            encoder_hidden_states=context,
            capture=Capture(noise_pred=True),
            class_label=0 if model.num_class_labels else None,
        )
        # On a GPU kernels are chosen for every batch size; on a CPU one row shows that it works.
        largest = 32 if model.device.type == "cuda" else 1
        size = 1
        while size <= largest:
            await session.unet([row] * size)
            size *= 2


async def report_start(describe: Callable[[], str]) -> None:
    """Log what is being loaded and how far the start is, every few seconds, until cancelled."""
    started = time.monotonic()
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        log.info("starting", progress=describe().removeprefix(": "), seconds=round(time.monotonic() - started))


def step_back() -> None:
    """Lower the priority of the calling thread, and of threads that it starts, below those that answer requests."""
    if sys.platform == "linux":  # on other systems the priority is the process's, and all threads would slow down
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOADING_NICENESS)


async def run_on_own_thread(work: Callable[[], Result], *, gently: bool = False) -> Result:
    """`work()` on a daemon thread, so that a stopping server does not wait for a download.

    gently: whether to lower its priority because other threads answer requests.
    """
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
        if gently:
            step_back()
        try:
            result = work()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="load a model", daemon=True).start()
    return await future
