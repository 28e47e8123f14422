"""A session on a real backbone: results, caches, timings, and the work of a request that is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import UNetRow
from backbones.stable_diffusion import StableDiffusion
from heads.diffusion_classifier.classify import classify
from heads.diffusion_classifier.schedule import Schedule
from heads.results import Posterior
from service.engine.worker import DeviceWorker
from tests.backbones.small_models import WEIGHTS
from tests.service.engine.hand_driven import (
    NOISE_PRED,
    let_requests_continue,
    make_rows,
    run_rows,
    step_until_done,
)


@contextmanager
def running(worker: DeviceWorker) -> Iterator[DeviceWorker]:
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def test_a_head_answers_the_same_on_the_direct_and_the_batching_engine(small_backbone: StableDiffusion) -> None:
    images = [np.random.default_rng(seed).integers(0, 255, (50, 70, 3), dtype=np.uint8) for seed in range(4)]
    labels, schedule = ["cat", "dog", "horse"], Schedule((4, 8), (2, 1))
    direct = DirectEngine(small_backbone)
    alone = [complete(classify(direct, image, labels, schedule=schedule)) for image in images]

    async def classify_one(image: NDArray[np.uint8]) -> Posterior:
        with worker.session("zero_shot") as session:
            return await classify(session, image, labels, schedule=schedule)

    async def classify_all() -> list[Posterior]:
        return await asyncio.gather(*[classify_one(image) for image in images])

    with running(DeviceWorker(small_backbone)) as worker:
        batched = asyncio.run(classify_all())
    for expected, posterior in zip(alone, batched, strict=True):
        assert posterior.label == expected.label
        assert posterior.rows == expected.rows == 4 * 3 + 4 * 2
        np.testing.assert_allclose(posterior.mean_errors, expected.mean_errors, atol=1e-5)
        np.testing.assert_allclose(posterior.probabilities, expected.probabilities, atol=1e-3)


def test_a_bad_row_is_refused_before_it_waits(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    bad = UNetRow(torch.zeros(4, 8, 8), 5000, torch.zeros(77, 32), NOISE_PRED)
    (refused,) = asyncio.run(step_until_done(worker, run_rows(worker.session("task"), [bad])))
    assert isinstance(refused, InvalidInput)
    assert worker.figures().waiting_rows == 0


def test_a_cancelled_request_drops_its_waiting_rows(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_batch_rows=4)

    async def leave_early() -> None:
        task = asyncio.ensure_future(run_rows(worker.session("task"), make_rows(small_backbone, 100)))
        await let_requests_continue()
        assert worker.step() == 4
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave_early())
    figures = worker.figures()
    assert (figures.waiting_rows, figures.requests_open, figures.rows_total) == (0, 0, 4)
    assert figures.cancelled_rows_total == 96
    assert worker.step() == 0


def test_the_same_text_and_the_same_image_are_computed_once(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone)
    pixels = torch.zeros(3, 64, 64)

    async def embed_and_encode() -> tuple[list[Tensor], list[Tensor]]:
        with worker.session("task") as session:
            return await session.embed(["a cat", "a dog", "a cat"]), await session.encode([pixels, pixels.clone()])

    with running(worker):
        (first, second), (again, _) = asyncio.run(embed_and_encode()), asyncio.run(embed_and_encode())
    torch.testing.assert_close(first[0], first[2], rtol=0, atol=0)
    torch.testing.assert_close(first[0], again[0], rtol=0, atol=0)
    torch.testing.assert_close(second[0], second[1], rtol=0, atol=0)
    figures = worker.figures()
    assert (figures.contexts_cache.entries, figures.latents_cache.entries) == (2, 1)
    assert figures.contexts_cache.hits >= 2


def test_two_backbones_of_one_worker_keep_their_own_entries(small_backbone: StableDiffusion) -> None:
    backbones = [small_backbone, load_diffusers_folder(WEIGHTS / "sd1")]
    pixels = torch.zeros(3, 64, 64)

    async def embed_and_encode(backbone: StableDiffusion) -> tuple[Tensor, Tensor]:
        with worker.session("task", backbone=backbone) as session:
            assert session.backbone is backbone.description
            return (await session.embed(["a cat"]))[0], (await session.encode([pixels]))[0]

    async def both() -> list[tuple[Tensor, Tensor]]:
        return await asyncio.gather(*(embed_and_encode(backbone) for backbone in backbones))

    with running(DeviceWorker()) as worker:
        results = asyncio.run(both())
    for backbone, (context, latents) in zip(backbones, results, strict=True):
        torch.testing.assert_close(context, backbone.embed(["a cat"])[0])
        torch.testing.assert_close(latents, backbone.encode([pixels])[0])
    assert worker.contexts.figures().entries == worker.latents.figures().entries == 2


def test_the_wait_for_the_device_is_a_part_of_the_time_of_the_stage(small_backbone: StableDiffusion) -> None:
    worker = DeviceWorker(small_backbone, max_batch_rows=1)
    session = worker.session("task")
    asyncio.run(step_until_done(worker, run_rows(session, make_rows(small_backbone, 3))))
    assert 0 < session.timings["queue"] < session.timings["unet"]
    assert session.stage_seconds().keys() == session.timings.keys()
    assert session.rows == 3


def test_a_function_returns_its_result_or_raises_its_error(small_backbone: StableDiffusion) -> None:
    async def run_functions() -> tuple[int, str]:
        with worker.session("task") as session:
            total = await session.run(sum, [1, 2, 3])
            with pytest.raises(ZeroDivisionError):
                await session.run(lambda: 1 // 0)
            return total, await session.run_on_host(str.upper, "host")

    with running(DeviceWorker(small_backbone)) as worker:
        assert asyncio.run(run_functions()) == (6, "HOST")
        assert worker.alive
