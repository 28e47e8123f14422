"""Heads that run together: equal work is done once, each head gets its own results, an error ends all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from backbones.engine import DirectEngine, Engine
from backbones.loading.source import open_backbone
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from service.engine.shared_rows import perceive


class CountingEngine(DirectEngine):
    """A direct engine that counts the rows and images it computes."""

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__(model)
        self.rows = 0
        self.encodes = 0

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        self.encodes += len(pixel_values)
        return await super().encode(pixel_values)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        self.rows += len(rows)
        return await super().unet(rows)


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine(open_backbone("pocket"))


def make_reader(pixel_values: Tensor, context: Tensor, capture: Capture, timestep: int = 1) -> Any:
    async def read(engine: Engine) -> Captures:
        (latents,) = await engine.encode([pixel_values])
        (captures,) = await engine.unet([UNetRow(latents, timestep, context, capture)])
        return captures

    return read


def test_equal_rows_are_computed_once_with_both_captures(engine: CountingEngine) -> None:
    side = engine.backbone.image_size
    pixel_values = torch.rand(3, side, side)
    context = asyncio.run(engine.embed([""]))[0]
    first, second = Capture(features=("mid_block",)), Capture(output=True)
    together = {
        "a": make_reader(pixel_values, context, first),
        "b": make_reader(pixel_values.clone(), context, second),
        "c": make_reader(pixel_values, context, second, timestep=7),
    }
    results = asyncio.run(perceive(engine, together))
    assert (engine.encodes, engine.rows) == (1, 2)
    for name, alone in together.items():
        expected = asyncio.run(alone(DirectEngine(engine.model)))
        for feature, tensor in expected.features.items():
            assert torch.allclose(results[name].features[feature], tensor, atol=1e-4)
        if expected.output is not None:
            assert torch.allclose(results[name].output, expected.output, atol=1e-4)


def test_heads_of_different_lengths_all_end(engine: CountingEngine) -> None:
    side = engine.backbone.image_size
    context = asyncio.run(engine.embed([""]))[0]
    once = make_reader(torch.rand(3, side, side), context, Capture(output=True))

    async def thrice(engine: Engine) -> int:
        for _ in range(3):
            await once(engine)
        return 3

    async def never(_: Engine) -> int:
        return 0

    results = asyncio.run(perceive(engine, {"once": once, "thrice": thrice, "never": never}))
    assert (results["thrice"], results["never"]) == (3, 0)


def test_an_error_of_one_head_ends_all(engine: CountingEngine) -> None:
    side = engine.backbone.image_size
    context = asyncio.run(engine.embed([""]))[0]
    good = make_reader(torch.rand(3, side, side), context, Capture(output=True))

    async def bad(_: Engine) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(perceive(engine, {"good": good, "bad": bad}))
