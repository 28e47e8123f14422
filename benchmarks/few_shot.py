"""What cached banks of supports save: a few-shot request with a cached bank, compared with one that computes its bank.

Both answer the same whole request (encode, U-Net, decode, mask) on the batching engine, in turns, each time with a new
picture: one request alone, and eight at a time, whose rows share batches. The table has the measured speed-up, and the
speed-up that the counted operations of the same two requests on the same network predict. No trained weights are
needed: the cost of a pass does not depend on them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from backbones.engine import DirectEngine, Engine, complete
from backbones.stable_diffusion import StableDiffusion
from benchmarks._table import arguments, print_table, write_figures
from heads.diffews.bank import VARIANT, concatenate_banks, support_banks
from heads.diffews.checkpoint import fresh_variant
from heads.diffews.preprocess import input_size
from heads.diffews.segment import segment, segment_concepts
from heads.diffews.threshold import PUBLISHED
from service.engine.worker import DeviceWorker
from service.library.banks import BankCache, Shot, shot_id
from service.models.loading import open_model
from service.settings.loader import load_settings

Picture = NDArray[np.uint8]

BUSY = 8
"""Concurrent requests of a busy server: a full batch of encodes and decodes."""


def picture(seed: int, side: int) -> Picture:
    """Noise with a bright square, (side, side, 3) uint8."""
    pixels = np.random.default_rng(seed).integers(0, 99, (side, side, 3), dtype=np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = 230
    return pixels


def object_of(side: int) -> Picture:
    """The square's mask, (side, side) of 0 and 1."""
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : side // 2, side // 4 : side // 2] = 1
    return mask


async def segment_anew(engine: Engine, query: Picture, supports: list[Picture]) -> None:
    """A request with its own supports."""
    await segment(engine, query, supports, [object_of(len(support)) for support in supports])


async def segment_with_banks(engine: Engine, query: Picture, shots: list[Shot], banks: BankCache) -> None:
    """A request for a concept with cached banks."""
    members = await banks.banks(engine, shots, size=input_size(engine.backbone))
    bank = await engine.run(concatenate_banks, members)
    await segment_concepts(engine, query, [bank], thresholds=[PUBLISHED])


def operations(work: Callable[[], Awaitable[object]]) -> int:
    """Floating-point operations of `work`, 2 for each multiply-add, of convolutions, matrix products and attention."""

    def cpu_attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    # torch counts the attention kernels of GPUs, but not those of the CPU.
    more = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: cpu_attention}
    with FlopCounterMode(display=False, custom_mapping=more) as counter:

        async def run() -> None:
            await work()

        asyncio.run(run())
    return int(counter.get_total_flops())


def count_operations(model: StableDiffusion, shots: int, side: int) -> tuple[int, int]:
    """Operations of a request that computes its bank, and of one whose bank is cached."""
    engine = DirectEngine(model)
    query, supports = picture(0, side), [picture(1 + index, side) for index in range(shots)]
    masks = [object_of(side)] * shots
    bank = concatenate_banks(complete(support_banks(engine, supports, masks, size=input_size(engine.backbone))))
    whole = operations(lambda: segment_anew(engine, query, supports))
    ready = operations(lambda: segment_concepts(engine, query, [bank], thresholds=[PUBLISHED]))
    return whole, ready


def measure(
    engine: DeviceWorker, shots: int, side: int, *, at_once: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of a query with each method, round by round; the methods take turns. at_once: concurrent requests."""
    supports = [picture(1 + index, side) for index in range(shots)]
    mask = object_of(side)
    ids = [Shot(shot_id(support, mask), lambda support=support: (support, mask)) for support in supports]  # type: ignore[misc]
    slow, fast = [], []
    with tempfile.TemporaryDirectory() as folder:
        banks = BankCache(Path(folder), device_bytes=16 << 30, host_bytes=0, disk_bytes=0)

        async def answer(way: Callable[[Engine], Awaitable[None]]) -> None:
            with engine.session("few_shot") as request:
                await way(request)

        async def seconds(ways: Sequence[Callable[[Engine], Awaitable[None]]]) -> float:
            started = time.perf_counter()
            await asyncio.gather(*map(answer, ways))
            return (time.perf_counter() - started) / len(ways)

        async def all_rounds() -> None:
            for number in range(rounds + 1):
                queries = [picture(1000 + number * at_once + index, side) for index in range(at_once)]
                first = await seconds([partial(segment_anew, query=query, supports=supports) for query in queries])
                second = await seconds(
                    [partial(segment_with_banks, query=query, shots=ids, banks=banks) for query in queries]
                )
                if number:  # the first round warms up, and fills the cache
                    slow.append(first)
                    fast.append(second)

        asyncio.run(all_rounds())
    return slow, fast


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()

    model = open_model(load_settings(backbone=chosen.backbone, device=chosen.device, dtype=chosen.dtype))
    if VARIANT not in model.variants:
        model.add_variant(VARIANT, fresh_variant(model))
    side = input_size(model.description)
    # Without a cache of latents: every query is new, and a request that computes its bank encodes its supports again.
    engine = DeviceWorker(model, latent_cache_bytes=0)
    engine.start()
    figures: dict[str, float] = {}
    rows, notes = [], []
    for shots in (1, 5):
        whole, ready = count_operations(model, shots, side)
        notes.append(f"{shots} shots: {whole / 1e9:.2f} GFLOP recomputed, {ready / 1e9:.2f} with the bank cached")
        figures[f"predicted_speedup_{shots}shot"] = whole / ready
        for at_once, name in ((1, f"{shots}shot"), (BUSY, f"{shots}shot_busy")):
            slow, fast = measure(engine, shots, side, at_once=at_once, rounds=chosen.rounds)
            speedup = statistics.median(recomputing / cached for recomputing, cached in zip(slow, fast, strict=True))
            figures[f"cached_speedup_{name}"] = speedup
            figures[f"cached_{name}_over_predicted"] = speedup / (whole / ready)
            figures[f"cached_seconds_{name}"] = cached_seconds = statistics.median(fast)
            figures[f"recomputed_seconds_{name}"] = recomputed_seconds = statistics.median(slow)
            rows.append(
                [
                    f"{shots}",
                    f"{at_once}",
                    f"{1000 * recomputed_seconds:.1f}",
                    f"{1000 * cached_seconds:.1f}",
                    f"{speedup:.2f}",
                    f"{whole / ready:.2f}",
                    f"{figures[f'cached_{name}_over_predicted']:.2f}",
                ]
            )
    engine.stop()
    print_table(
        f"A few-shot request: {chosen.backbone}, {side} x {side} pixels, {model.description.device}, {chosen.dtype}",
        ["shots", "at once", "recomputed, ms", "cached, ms", "speed-up", "by operations", "measured / predicted"],
        rows,
        [*notes, f"milliseconds a query, medians of {chosen.rounds} rounds; every query is new"],
    )
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
