"""The engine on a real backbone: answers, faults, bounds, leaving. `step` is called by hand wherever order matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones.backbone import Description
from backbones.engine import DirectEngine, Result, complete
from backbones.errors import Cancelled, DeadlinePassed, InvalidInput, NotANumber, Overloaded
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from heads.diffusion_classifier.classify import classify
from heads.diffusion_classifier.schedule import Schedule
from service.engine.worker import BULK_TURN, RequestEngine, RowEngine

NOISE_PRED = Capture(noise_pred=True)


class Faulty:
    """A backbone with a fault let in before each U-Net batch: `fault(rows)` may raise, or change the result."""

    def __init__(self, model: StableDiffusion, fault: Callable[[Sequence[UNetRow]], None]) -> None:
        self.model = model
        self.fault = fault
        self.batch_sizes: list[int] = []

    @property
    def description(self) -> Description:
        return self.model.description

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self.model.tokenize(texts)

    def check(self, row: UNetRow) -> None:
        self.model.check(row)

    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        return self.model.encode(pixel_values)

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        return self.model.embed(texts)

    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        self.batch_sizes.append(len(rows))
        self.fault(rows)
        return self.model.forward(rows)

    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        return self.model.decode(latents)


def rows(model: StableDiffusion, count: int, *, timestep: int = 500) -> list[UNetRow]:
    generator = torch.Generator().manual_seed(count)
    (context,) = model.embed(["a cat"])
    return [UNetRow(torch.randn(4, 8, 8, generator=generator), timestep, context, NOISE_PRED) for _ in range(count)]


@contextmanager
def running(engine: RowEngine) -> Iterator[RowEngine]:
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


async def stepping(engine: RowEngine, *work: Coroutine[Any, Any, Result]) -> list[Result | BaseException]:
    """Results of `work`, with turns taken by hand between the loop's own."""
    tasks = [asyncio.ensure_future(one) for one in work]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        engine.step()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def asked(request: RequestEngine, items: Sequence[UNetRow]) -> list[Captures]:
    with request:
        return await request.unet(items)


def test_a_head_answers_the_same_on_the_direct_and_the_batching_engine(small_backbone: StableDiffusion) -> None:
    images = [np.random.default_rng(seed).integers(0, 255, (50, 70, 3), dtype=np.uint8) for seed in range(4)]
    labels, schedule = ["cat", "dog", "horse"], Schedule((4, 8), (2, 1))
    direct = DirectEngine(small_backbone)
    alone = [complete(classify(direct, image, labels, schedule=schedule)) for image in images]

    async def one(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        with engine.request("zero_shot") as request:
            return await classify(request, image, labels, schedule=schedule)

    async def together() -> list[Any]:
        return await asyncio.gather(*[one(image) for image in images])

    with running(RowEngine(small_backbone)) as engine:
        batched = asyncio.run(together())
    for expected, found in zip(alone, batched, strict=True):
        assert found.label == expected.label
        assert found.rows == expected.rows == 4 * 3 + 4 * 2
        np.testing.assert_allclose(found.mean_errors, expected.mean_errors, atol=1e-5)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_rows_of_several_requests_share_one_batch(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone)
    sizes: list[tuple[str, int]] = []
    engine.on_batch = lambda kind, size, seconds: sizes.append((kind, size))
    work = [asked(engine.request("task"), rows(small_backbone, 1, timestep=t)) for t in (1, 500, 999)]
    results = asyncio.run(stepping(engine, *work))
    assert sizes == [("unet", 3)]
    for timestep, result in zip((1, 500, 999), results, strict=True):
        (expected,) = small_backbone.forward(rows(small_backbone, 1, timestep=timestep))
        assert isinstance(result, list)
        torch.testing.assert_close(result[0].noise_pred, expected.noise_pred, atol=1e-5, rtol=1e-5)


def test_out_of_memory_halves_the_batch_and_nobody_fails(small_backbone: StableDiffusion) -> None:
    def fault(batch: Sequence[UNetRow]) -> None:
        if len(batch) > 4:
            raise torch.OutOfMemoryError("no memory for so many rows")

    model = Faulty(small_backbone, fault)
    engine = RowEngine(model, max_batch_rows=16)
    (result,) = asyncio.run(stepping(engine, asked(engine.request("task"), rows(small_backbone, 32))))
    assert isinstance(result, list)
    assert len(result) == 32
    assert all(got.noise_pred is not None for got in result)
    # Once 16 and 8 have failed, no batch of more than 4 is tried again.
    assert [size for size in model.batch_sizes if size > 4] == [16, 8, 8]
    assert engine.figures().out_of_memory_total == 3


def test_a_row_that_raises_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    poison = rows(small_backbone, 1, timestep=666)

    def fault(batch: Sequence[UNetRow]) -> None:
        if any(row.timestep == 666 for row in batch):
            raise RuntimeError("a kernel failed")

    engine = RowEngine(Faulty(small_backbone, fault))
    work = [
        asked(engine.request("task"), items) for items in (rows(small_backbone, 3), poison, rows(small_backbone, 2))
    ]
    well, sick, also_well = asyncio.run(stepping(engine, *work))
    assert isinstance(sick, RuntimeError)
    assert [len(result) for result in (well, also_well) if isinstance(result, list)] == [3, 2]


def test_a_row_that_gives_nan_fails_its_own_request_only(small_backbone: StableDiffusion) -> None:
    sick_row = rows(small_backbone, 1)[0]
    sick_row.latents.fill_(float("nan"))
    engine = RowEngine(small_backbone)
    work = [asked(engine.request("task"), items) for items in (rows(small_backbone, 3), [sick_row])]
    well, sick = asyncio.run(stepping(engine, *work))
    assert isinstance(well, list)
    assert isinstance(sick, NotANumber)


def test_a_bad_row_is_refused_before_it_waits(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone)
    bad = UNetRow(torch.zeros(4, 8, 8), 5000, torch.zeros(77, 32), NOISE_PRED)
    (refused,) = asyncio.run(stepping(engine, asked(engine.request("task"), [bad])))
    assert isinstance(refused, InvalidInput)
    assert engine.figures().waiting_rows == 0


def test_leaving_drops_the_rows_that_wait(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone, max_batch_rows=4)

    async def leave_early() -> None:
        task = asyncio.ensure_future(asked(engine.request("task"), rows(small_backbone, 100)))
        await asyncio.sleep(0)
        assert engine.step() == 4
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave_early())
    figures = engine.figures()
    assert (figures.waiting_rows, figures.requests_open, figures.rows_total) == (0, 0, 4)
    assert figures.cancelled_rows_total == 96
    assert engine.step() == 0


def test_a_full_line_refuses_a_newcomer(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone, max_waiting_rows=10)
    work = [asked(engine.request("task"), rows(small_backbone, 8)) for _ in range(2)]
    served, refused = asyncio.run(stepping(engine, *work))
    assert isinstance(served, list)
    assert isinstance(refused, Overloaded)
    assert refused.retry_after_seconds >= 1
    assert engine.figures().rejected_total == 1


def test_a_request_whose_deadline_passes_while_it_waits_is_answered_so(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone)
    late = engine.request("task", deadline_seconds=0)
    work = [asked(late, rows(small_backbone, 2)), asked(engine.request("task"), rows(small_backbone, 2))]
    missed, served = asyncio.run(stepping(engine, *work))
    assert isinstance(missed, DeadlinePassed)
    assert isinstance(served, list)


def test_bulk_is_never_starved_by_a_stream_of_interactive_rows(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone, max_batch_rows=2)
    tasks: list[str] = []

    async def stream() -> None:
        interactive = asyncio.ensure_future(asked(engine.request("interactive"), rows(small_backbone, 200)))
        bulk = asyncio.ensure_future(asked(engine.request("bulk", bulk=True), rows(small_backbone, 4)))
        await asyncio.sleep(0)
        while not bulk.done():
            engine.step()
            tasks.append("bulk" if engine.figures().rows_by_task.get("bulk", 0) else "interactive")
            await asyncio.sleep(0)
        interactive.cancel()

    asyncio.run(stream())
    assert tasks.index("bulk") == BULK_TURN
    assert len(tasks) <= 2 * (BULK_TURN + 1) + 1


def test_the_same_text_and_the_same_image_are_done_once(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone)
    pixels = torch.zeros(3, 64, 64)

    async def both() -> tuple[list[Tensor], list[Tensor]]:
        with engine.request("task") as request:
            return await request.embed(["a cat", "a dog", "a cat"]), await request.encode([pixels, pixels.clone()])

    with running(engine):
        (first, second), (again, _) = asyncio.run(both()), asyncio.run(both())
    torch.testing.assert_close(first[0], first[2], rtol=0, atol=0)
    torch.testing.assert_close(first[0], again[0], rtol=0, atol=0)
    torch.testing.assert_close(second[0], second[1], rtol=0, atol=0)
    figures = engine.figures()
    assert (figures.contexts_cache.entries, figures.latents_cache.entries) == (2, 1)
    assert figures.contexts_cache.hits >= 2


def test_the_wait_for_the_device_is_told_apart_from_its_work(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone, max_batch_rows=1)
    request = engine.request("task")
    asyncio.run(stepping(engine, asked(request, rows(small_backbone, 3))))
    assert 0 < request.timings["queue"] < request.timings["unet"]
    assert request.rows == 3


def test_stopping_answers_what_waits(small_backbone: StableDiffusion) -> None:
    engine = RowEngine(small_backbone)

    async def stop_while_waiting() -> None:
        task = asyncio.ensure_future(asked(engine.request("task"), rows(small_backbone, 2)))
        await asyncio.sleep(0)
        engine.stop()
        with pytest.raises(Cancelled):
            await task
        with pytest.raises(Cancelled):
            await asked(engine.request("task"), rows(small_backbone, 2))

    asyncio.run(stop_while_waiting())
    assert not engine.alive


def test_a_head_gets_its_function_run_and_its_error_back(small_backbone: StableDiffusion) -> None:
    async def ask() -> tuple[int, str]:
        with engine.request("task") as request:
            total = await request.run(sum, [1, 2, 3])
            with pytest.raises(ZeroDivisionError):
                await request.run(lambda: 1 // 0)
            return total, await request.run_on_host(str.upper, "host")

    with running(RowEngine(small_backbone)) as engine:
        assert asyncio.run(ask()) == (6, "HOST")
        assert engine.alive
