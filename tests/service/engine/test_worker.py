"""The worker on a real backbone: shared batches, faults, bounds, deadlines. `step` is called by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import torch

from backbones.errors import Cancelled, DeadlinePassed, NotANumber, Overloaded
from backbones.rows import UNetRow
from backbones.stable_diffusion import StableDiffusion
from service.engine.worker import BULK_TURN, DeviceWorker
from tests.service.engine.hand_driven import (
    FaultyBackbone,
    let_requests_continue,
    make_rows,
    run_rows,
    step_until_done,
)


def test_rows_of_several_requests_share_one_batch(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    sizes: list[tuple[str, int]] = []
    worker.on_batch = lambda kind, size, seconds: sizes.append((kind, size))
    work = [run_rows(worker.session("task"), make_rows(small_backbone, 1, timestep=t)) for t in (1, 500, 999)]
    results = asyncio.run(step_until_done(worker, *work))
    assert sizes == [("unet", 3)]
    for timestep, result in zip((1, 500, 999), results, strict=True):
        (expected,) = small_backbone.forward(make_rows(small_backbone, 1, timestep=timestep))
        assert isinstance(result, list)
        torch.testing.assert_close(result[0].noise_pred, expected.noise_pred, atol=1e-5, rtol=1e-5)


def test_out_of_memory_halves_the_batch_and_no_request_fails(small_backbone: StableDiffusion) -> None:
    def fault(batch: Sequence[UNetRow]) -> None:
        if len(batch) > 4:
            raise torch.OutOfMemoryError("no memory for so many rows")

    model = FaultyBackbone(small_backbone, fault)
    worker = DeviceWorker(model, max_batch_rows=16)
    (result,) = asyncio.run(step_until_done(worker, run_rows(worker.session("task"), make_rows(small_backbone, 32))))
    assert isinstance(result, list)
    assert len(result) == 32
    assert all(captures.noise_pred is not None for captures in result)
    # Once 16 and 8 have failed, no batch of more than 4 is tried again.
    assert [size for size in model.batch_sizes if size > 4] == [16, 8, 8]
    assert worker.figures().out_of_memory_total == 3


def test_a_row_that_raises_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    poison = make_rows(small_backbone, 1, timestep=666)

    def fault(batch: Sequence[UNetRow]) -> None:
        if any(row.timestep == 666 for row in batch):
            raise RuntimeError("a kernel failed")

    worker = DeviceWorker(FaultyBackbone(small_backbone, fault))
    requests = (make_rows(small_backbone, 3), poison, make_rows(small_backbone, 2))
    work = [run_rows(worker.session("task"), rows) for rows in requests]
    well, sick, also_well = asyncio.run(step_until_done(worker, *work))
    assert isinstance(sick, RuntimeError)
    assert [len(result) for result in (well, also_well) if isinstance(result, list)] == [3, 2]


def test_a_row_that_gives_nan_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    sick_row = make_rows(small_backbone, 1)[0]
    sick_row.latents.fill_(float("nan"))
    worker = DeviceWorker(small_backbone)
    work = [run_rows(worker.session("task"), rows) for rows in (make_rows(small_backbone, 3), [sick_row])]
    well, sick = asyncio.run(step_until_done(worker, *work))
    assert isinstance(well, list)
    assert isinstance(sick, NotANumber)


def test_a_full_queue_refuses_a_new_request(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_waiting_rows=10)
    work = [run_rows(worker.session("task"), make_rows(small_backbone, 8)) for _ in range(2)]
    served, refused = asyncio.run(step_until_done(worker, *work))
    assert isinstance(served, list)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_seconds >= 1
    assert worker.figures().rejected_total == 1


def test_a_request_whose_deadline_passes_while_it_waits_gets_deadline_passed(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    late = worker.session("task", deadline_seconds=0)
    work = [
        run_rows(late, make_rows(small_backbone, 2)),
        run_rows(worker.session("task"), make_rows(small_backbone, 2)),
    ]
    missed, served = asyncio.run(step_until_done(worker, *work))
    assert isinstance(missed, DeadlinePassed)
    assert isinstance(served, list)


def test_a_stream_of_interactive_rows_does_not_starve_bulk(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_batch_rows=2)
    tasks: list[str] = []

    async def stream() -> None:
        interactive = asyncio.ensure_future(run_rows(worker.session("interactive"), make_rows(small_backbone, 200)))
        bulk = asyncio.ensure_future(run_rows(worker.session("bulk", bulk=True), make_rows(small_backbone, 4)))
        await let_requests_continue()
        while not bulk.done():
            worker.step()
            tasks.append("bulk" if worker.figures().rows_by_task.get("bulk", 0) else "interactive")
            await let_requests_continue()
        interactive.cancel()

    asyncio.run(stream())
    assert tasks.index("bulk") == BULK_TURN
    assert len(tasks) <= 2 * (BULK_TURN + 1) + 1


def test_stopping_answers_what_waits(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)

    async def stop_while_waiting() -> None:
        task = asyncio.ensure_future(run_rows(worker.session("task"), make_rows(small_backbone, 2)))
        await let_requests_continue()
        worker.stop()
        with pytest.raises(Cancelled):
            await task
        with pytest.raises(Cancelled):
            await run_rows(worker.session("task"), make_rows(small_backbone, 2))

    asyncio.run(stop_while_waiting())
    assert not worker.alive
