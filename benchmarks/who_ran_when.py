"""A minute of the engine under load: the requests in each batch, as numbers and as a figure.

Clients of four tasks send the next request after each answer, as in `benchmarks.mixed_load` but without HTTP, and bulk
requests wait behind them. After ten seconds comes a request of 1,000 rows. The worker reports every batch, and the
benchmark records it. `--figure FILE` draws the recording; matplotlib comes with the extra `training`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._table import arguments, print_table, write_figures
from benchmarks.mixed.load import LABELS, LARGE_SAMPLES, MIXTURE, SAMPLES, picture, tasks_in_order
from heads.diffusion_classifier import zero_shot
from heads.feature_pooling import features
from heads.inputs import Inputs
from heads.sdpose import pose
from heads.sdpose.poses import PoseOptions
from heads.vpd import depth
from service.engine.figures import RanBatch
from service.engine.worker import DeviceWorker
from service.inputs.images import decode_image
from service.models.loading import OpenHeads, open_model
from service.models.start_up import build_worker, prepare_lanes
from service.settings.loader import Settings, load_settings
from service.tasks import TASKS, AnyTask

LARGE, BULK = "1,000 rows", "bulk depth"
BULK_CLIENTS, LARGE_AFTER = 4, 10.0
LINES = ("depth", "pose", "features", "zero_shot", LARGE, BULK)
COLOURS = {"encode": "#d9a441", "unet": "#3b6fb6", "apply": "#58a05c"}
KINDS = {"encode": "image encoder", "unet": "U-Net", "apply": "a head's own network"}
ZOOM_SECONDS = 4.0


@dataclass(slots=True)
class Recording:
    """The batches and the waits of requests from `started` to `ended`, by `time.perf_counter`.

    batches: in the order of their ends. waits: arrival and answer of each request, by its line of the figure.
    large_came: arrival of the request of 1,000 rows.
    """

    batches: list[RanBatch] = field(default_factory=list)
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    large_came: float = 0.0


class Clients:
    """The clients of the worker."""

    def __init__(self, settings: Settings, worker: DeviceWorker, heads: OpenHeads) -> None:
        self.worker = worker
        self.recording = Recording()
        self._limits = settings.limits
        self._numbers = itertools.count()
        self._asks: dict[str, tuple[AnyTask, Any]] = {
            "depth": (depth.TASK, depth.DepthOptions()),
            "pose": (pose.TASK, PoseOptions(persons="whole_image")),
            "features": (features.TASK, features.FeaturesOptions()),
            "zero_shot": (zero_shot.TASK, _zero_shot(SAMPLES)),
            LARGE: (zero_shot.TASK, _zero_shot(LARGE_SAMPLES)),
            BULK: (depth.TASK, depth.DepthOptions()),
        }
        self._heads = {name: heads.require(task) for name, (task, _) in self._asks.items()}

    async def run(self, clients: int, seconds: float) -> None:
        """Send requests for `seconds`; requests without an answer are then cancelled."""
        for name in MIXTURE:
            await self.ask(name)  # the first request of each task is not recorded
        self.recording = Recording(started=time.perf_counter())
        self.worker.on_batch = self.recording.batches.append
        order, ends = tasks_in_order(MIXTURE, seed=0), self.recording.started + seconds

        async def repeat(bulk: bool) -> None:
            while time.perf_counter() < ends:
                await self.ask(BULK if bulk else next(order))

        async def come_later() -> None:
            await asyncio.sleep(min(LARGE_AFTER, seconds / 2))
            self.recording.large_came = time.perf_counter()
            await self.ask(LARGE)

        work = [*(repeat(place >= clients) for place in range(clients + BULK_CLIENTS)), come_later()]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*work)
        self.recording.ended = time.perf_counter()

    async def ask(self, line: str) -> None:
        """Send one request with a new picture, and wait for its answer."""
        number, (task, options) = next(self._numbers), self._asks[line]
        image = await asyncio.to_thread(lambda: decode_image(picture(number), self._limits))
        came = time.perf_counter()
        with self.worker.session(line, bulk=line == BULK) as session:
            run: Any = task.run
            await run(session, self._heads[line], Inputs((image,)), options)
        self.recording.waits.setdefault(line, []).append((came, time.perf_counter()))


def _zero_shot(samples: int) -> zero_shot.ZeroShotOptions:
    rounds = zero_shot.RoundsRequest(n_samples=[samples], to_keep=[1])
    return zero_shot.ZeroShotOptions(labels=list(LABELS), schedule=rounds)


def record(clients: int, seconds: float) -> Recording:
    """Record a worker with its heads on the embedded backbone."""
    # With this limit, batches on a busy machine take longer, but are as large as on an idle one.
    settings = load_settings(backbone="pocket", device="cpu", engine={"max_batch_seconds": 60})
    backbone = open_model(settings)
    heads, worker = OpenHeads(settings, backbone, TASKS), build_worker(settings, backbone)
    worker.start()
    prepare_lanes(worker, [backbone], settings)
    asking = Clients(settings, worker, heads)
    try:
        asyncio.run(asking.run(clients, seconds))
    finally:
        worker.stop()
    return asking.recording


def draw(recording: Recording, file: Path) -> None:
    """Draw the figure: above the whole time by line, below a few seconds by lane."""
    from matplotlib import pyplot  # only drawing needs it
    from matplotlib.patches import Patch

    figure, (whole, near) = pyplot.subplots(2, 1, figsize=(11, 6), height_ratios=(3, 2), layout="constrained")
    for batch in recording.batches:
        if batch.kind not in COLOURS:
            continue
        for line, items in Counter(batch.tasks).items():
            where = (LINES.index(line) - 0.42, 0.84)
            bar = [(batch.started - recording.started, batch.seconds)]
            whole.broken_barh(
                bar, where, color=COLOURS[batch.kind], alpha=0.25 + 0.75 * items / batch.size, linewidth=0
            )
    answered = next((end for _, end in recording.waits.get(LARGE, [])), recording.ended)
    span = (recording.large_came - recording.started, answered - recording.started)
    whole.hlines(LINES.index(LARGE) + 0.47, *span, color="black")
    whole.set_yticks(range(len(LINES)), [line.replace("_", "-") for line in LINES])
    whole.invert_yaxis()
    whole.set(xlim=(0, recording.ended - recording.started), title="Which requests each batch served")
    handles = [Patch(color=COLOURS[kind], label=name) for kind, name in KINDS.items()]
    whole.legend(handles=handles, loc="upper right", ncols=3, fontsize=8)
    _draw_lanes(recording, near)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _draw_lanes(recording: Recording, near: Any) -> None:
    """Draw a few seconds after the request of 1,000 rows arrived: each batch with its items by line."""
    begins = recording.large_came - recording.started + 1
    lanes = sorted({batch.lane for batch in recording.batches})
    for batch in recording.batches:
        start = batch.started - recording.started
        if batch.kind not in COLOURS or start + batch.seconds < begins or start > begins + ZOOM_SECONDS:
            continue
        at = lanes.index(batch.lane)
        near.broken_barh([(start, batch.seconds)], (at - 0.45, 0.9), color=COLOURS[batch.kind], edgecolor="white")
        counts = [f"{items} {line.replace('_', '-')}" for line, items in Counter(batch.tasks).most_common()]
        if batch.seconds > ZOOM_SECONDS / 40:
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6, "color": "white", "rotation": 90}
            near.text(start + batch.seconds / 2, at, "\n".join(counts), clip_on=True, **style)
    near.set_yticks(range(len(lanes)), [f"lane {at}" for at in range(len(lanes))])
    near.set(
        xlim=(begins, begins + ZOOM_SECONDS), xlabel="seconds", title="Four of these seconds, with items of each batch"
    )


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the recording here")
    chosen = parser.parse_args()
    recording = record(chosen.clients, chosen.seconds)
    rows, figures = [], {}
    for line in LINES:
        waits = [answered - came for came, answered in recording.waits.get(line, [])]
        middle, last = (float(np.percentile(waits, p)) if waits else 0.0 for p in (50, 99))
        sizes = [batch.tasks.count(line) for batch in recording.batches if batch.kind == "unet" and line in batch.tasks]
        rows.append([line, str(len(waits)), f"{middle:.2f} / {last:.2f}", f"{np.mean(sizes) if sizes else 0:.1f}"])
        figures[f"{line}_seconds_p50"] = middle
    load = os.getloadavg()[0]
    print_table(
        f"{chosen.clients} clients and {BULK_CLIENTS} of bulk, {chosen.seconds:.0f} s",
        ["requests", "answers", "seconds, p50 / p99", "rows in a batch"],
        rows,
        [f"load of the machine at the end {load:.1f}, {os.cpu_count()} cores"],
    )
    if chosen.figure is not None:
        draw(recording, chosen.figure)
    write_figures(chosen.json, figures, load=load, cores=os.cpu_count())
    return 0


if __name__ == "__main__":
    sys.exit(main())
