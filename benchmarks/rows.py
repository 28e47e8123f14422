"""U-Net rows a second with three methods, in one run on one backbone:

- one at a time: the bare diffusers U-Net with one row in each call, as a service without batching would do;
- ideal: the bare U-Net on prepared full batches, which no server can exceed;
- engine: 32 concurrent clients of the batching engine, where every row has its own timestep and prompt.

The three take turns for several rounds, so that noise affects them equally; ratios are of medians.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from benchmarks._table import arguments, print_table, write_figures
from service.engine.worker import DeviceWorker
from service.models.loading import open_model
from service.settings.loader import load_settings

CLIENTS = 32
PROMPTS = [f"a handwritten {word}" for word in ("zero", "one", "two", "three", "four", "five", "six", "seven")]


def make_rows(model: StableDiffusion, count: int) -> list[UNetRow]:
    """Rows with different timesteps and prompts; latents are standard normal."""
    described = model.description
    size = described.image_size // described.downscale
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(count, described.latent_channels, size, size, generator=generator)
    latents = latents.to(described.device, described.dtype)
    contexts = model.embed(PROMPTS)
    capture = Capture(noise_pred=True)
    return [
        UNetRow(own, (37 * place) % 1000, contexts[place % len(contexts)], capture)
        for place, own in enumerate(latents.unbind())
    ]


def stack_batches(rows: list[UNetRow], size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Batches for the bare U-Net: latents (B, C, h, w), timesteps (B,), contexts (B, T, D)."""
    groups = [rows[at : at + size] for at in range(0, len(rows), size)]
    return [
        (
            torch.stack([row.latents for row in group]),
            torch.tensor([row.timestep for row in group], device=group[0].latents.device),
            torch.stack([row.encoder_hidden_states for row in group if row.encoder_hidden_states is not None]),
        )
        for group in groups
    ]


def bare(model: StableDiffusion, batches: list[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Rows a second of plain diffusers calls on prepared batches."""
    unet: Any = model.variants[""].unet
    started = time.perf_counter()
    with torch.no_grad():
        for latents, timesteps, contexts in batches:
            unet(latents, timesteps, contexts, return_dict=False)
    _wait(model)
    return sum(len(latents) for latents, _, _ in batches) / (time.perf_counter() - started)


def under_clients(engine: DeviceWorker, rows: list[UNetRow], sizes: Callable[[], int]) -> float:
    """Rows a second of 32 clients together; each sends the next request after each answer."""
    left = iter(rows)

    async def client() -> None:
        while batch := [row for _, row in zip(range(sizes()), left, strict=False)]:
            with engine.session("benchmark") as request:
                await request.unet(batch)

    async def everybody() -> None:
        await asyncio.gather(*[client() for _ in range(CLIENTS)])

    started = time.perf_counter()
    asyncio.run(everybody())
    return len(rows) / (time.perf_counter() - started)


def _wait(model: StableDiffusion) -> None:
    if model.description.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch", type=int, default=32, help="rows in a full batch")
    parser.add_argument("--rows", type=int, default=1024, help="rows a round")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()

    model = open_model(load_settings(backbone=chosen.backbone, device=chosen.device, dtype=chosen.dtype))
    rows = make_rows(model, chosen.rows)
    single, full = stack_batches(rows[: chosen.rows // 8], 1), stack_batches(rows, chosen.batch)
    engine = DeviceWorker(model, max_batch_rows=chosen.batch)
    engine.start()
    dice = random.Random(0)
    ways: dict[str, Callable[[], float]] = {
        "one at a time": lambda: bare(model, single),
        "ideal": lambda: bare(model, full),
        "engine, 1 to 16 rows a request": lambda: under_clients(engine, rows, lambda: dice.randint(1, 16)),
        "engine, 1 row a request": lambda: under_clients(engine, rows, lambda: 1),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    before = engine.figures()
    for round_number in range(-1, chosen.rounds):
        for way, measure in ways.items():
            rate = measure()
            if round_number >= 0:  # the first round warms up
                rates[way].append(rate)
    after = engine.figures()
    engine.stop()

    medians = {way: statistics.median(speeds) for way, speeds in rates.items()}
    ratios = {way: statistics.median(a / b for a, b in zip(rates[way], rates["ideal"], strict=True)) for way in ways}
    mean_batch = (after.rows_total - before.rows_total) / (after.batches_total - before.batches_total)
    print_table(
        f"U-Net rows a second: {chosen.backbone}, {model.description.device}, {chosen.dtype}",
        ["way", "rows/s, median", "worst", "best", "of ideal"],
        [
            [way, f"{medians[way]:.0f}", f"{min(speeds):.0f}", f"{max(speeds):.0f}", f"{ratios[way]:.2f}"]
            for way, speeds in rates.items()
        ],
        [
            f"batches of {chosen.batch}, {CLIENTS} clients, torch threads: {torch.get_num_threads()}",
            f"mean batch of the engine: {mean_batch:.1f} rows; {chosen.rounds} rounds of {chosen.rows} rows",
        ],
    )
    figures = {
        "engine_over_ideal": ratios["engine, 1 to 16 rows a request"],
        "engine_over_ideal_single_rows": ratios["engine, 1 row a request"],
        "engine_over_one_at_a_time": medians["engine, 1 to 16 rows a request"] / medians["one at a time"],
        "ideal_rows_per_second": medians["ideal"],
        "engine_mean_batch_rows": mean_batch,
    }
    write_figures(chosen.json, figures, rates=rates, backbone=chosen.backbone, device=str(model.description.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
