"""How long a request of one row waits beside a request of a thousand rows, in one run on one backbone:

- alone: the device is idle;
- engine: the thousand rows are in the queue, and the engine gives every request its turn;
- first come, first served: the same rows through one queue in order of arrival, as batching servers do.

The figure is in batches: the wait minus that of the request alone, divided by the time of one full batch.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from backbones.rows import UNetRow
from benchmarks._table import arguments, print_table, write_figures
from benchmarks.rows import make_rows
from service.engine.worker import DeviceWorker
from service.models.loading import open_model
from service.settings.loader import load_settings

LARGE = 1000


async def time_row(engine: DeviceWorker, row: UNetRow) -> float:
    """Seconds that a request of one row takes."""
    started = time.perf_counter()
    with engine.session("small") as request:
        await request.unet([row])
    return time.perf_counter() - started


async def beside_a_large_request(engine: DeviceWorker, rows: list[UNetRow]) -> tuple[float, float]:
    """Seconds of a request of one row while a large request runs, and seconds of the large request."""

    async def large() -> float:
        started = time.perf_counter()
        with engine.session("large") as request:
            await request.unet(rows)
        return time.perf_counter() - started

    task = asyncio.create_task(large())
    while engine.figures().running_rows == 0:
        await asyncio.sleep(0)
    small = await time_row(engine, rows[0])
    return small, await task


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()

    model = open_model(load_settings(backbone=chosen.backbone, device=chosen.device))
    rows = make_rows(model, LARGE)
    engine = DeviceWorker(model, max_batch_rows=chosen.batch)
    batch_seconds: list[float] = []
    engine.on_batch = lambda ran: batch_seconds.append(ran.seconds) if ran.size == chosen.batch else None
    engine.start()
    asyncio.run(time_row(engine, rows[0]))
    alone = [asyncio.run(time_row(engine, rows[0])) for _ in range(chosen.rounds)]
    pairs = [asyncio.run(beside_a_large_request(engine, rows)) for _ in range(chosen.rounds)]
    engine.stop()

    lone, batch = statistics.median(alone), statistics.median(batch_seconds)
    shared, whole = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    # In one queue the row comes after all rows of the large request, except those of the running batch.
    queued = whole + lone
    waits = {"alone": lone, f"engine, beside {LARGE} rows": shared, f"first come, first served, behind {LARGE}": queued}
    print_table(
        f"A request of one row: {chosen.backbone}, {model.description.device}, batches of {chosen.batch}",
        ["way", "ms, median", "extra wait, batches"],
        [[way, f"{1000 * took:.0f}", f"{(took - lone) / batch:.1f}"] for way, took in waits.items()],
        [f"one full batch takes {1000 * batch:.0f} ms; the large request {whole:.2f} s; {chosen.rounds} rounds"],
    )
    figures = {
        "extra_wait_batches": (shared - lone) / batch,
        "extra_wait_batches_first_come": (queued - lone) / batch,
        "one_row_first_come_over_engine": queued / shared,
    }
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
