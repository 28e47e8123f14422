"""Helpers that call the worker's steps by hand, and backbones for these tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import torch
from torch import Tensor

from backbones.backbone import Description
from backbones.engine import Result
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from service.engine.session import Session
from service.engine.worker import DeviceWorker

NOISE_PRED = Capture(noise_pred=True)


class FaultyBackbone:
    """A backbone that calls `fault(rows)`, which may raise, before each U-Net batch."""

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


class InstantBackbone:
    """A backbone that takes no time: each row's output is its own latents. For tests of order, not of numbers.

    runs: how often each row was run, by the id of its latents.
    """

    description = Description(
        name="instant",
        revision="instant",
        image_size=8,
        latent_channels=1,
        downscale=8,
        scaling_factor=1.0,
        prediction_type="epsilon",
        alphas_cumprod=torch.ones(1000),
        max_tokens=1,
        num_class_labels=0,
        variants=(),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )

    def __init__(self) -> None:
        self.runs: Counter[int] = Counter()

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return [(0,) for _ in texts]

    def check(self, row: UNetRow) -> None:
        pass

    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """(3, H, W) each -> (1, H, W)."""
        return [pixels[:1] for pixels in pixel_values]

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """(1, 1) each."""
        return [torch.zeros(1, 1) for _ in texts]

    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]:
        self.runs.update(id(row.latents) for row in rows)
        return [Captures(output=row.latents) for row in rows]

    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """(1, h, w) each, as they are."""
        return list(latents)


def make_instant_rows(count: int) -> list[UNetRow]:
    """Rows for InstantBackbone, each with latents (1, 1, 1) of its own."""
    return [UNetRow(torch.zeros(1, 1, 1), 0, None, Capture(output=True)) for _ in range(count)]


def make_rows(model: StableDiffusion, count: int, *, timestep: int = 500) -> list[UNetRow]:
    generator = torch.Generator().manual_seed(count)
    (context,) = model.embed(["a cat"])
    return [UNetRow(torch.randn(4, 8, 8, generator=generator), timestep, context, NOISE_PRED) for _ in range(count)]


async def let_requests_continue() -> None:
    """Let each request receive its answers and submit its next call: a few passes of the loop, no time."""
    for _ in range(8):
        await asyncio.sleep(0)


async def step_until_done(
    worker: DeviceWorker, *work: Coroutine[Any, Any, Result], max_steps: int = 10_000
) -> list[Result | BaseException]:
    """Results or errors of `work`, with steps between the passes of the loop. Fails after `max_steps`."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    for _ in range(max_steps):
        await let_requests_continue()
        if all(task.done() for task in tasks):
            return await asyncio.gather(*tasks, return_exceptions=True)
        worker.step()
    raise AssertionError(f"{sum(not task.done() for task in tasks)} requests have not ended after {max_steps} steps")


async def run_rows(session: Session, rows: Sequence[UNetRow]) -> list[Captures]:
    with session:
        return await session.unet(rows)
