"""The time and the data of a job of many images on many GPUs: `python -m benchmarks.scale_plan --images 1e8 --gpus 64`.

Time on GPUs is images times milliseconds. The milliseconds in this file are not measured: they follow from counted
operations of networks of the published sizes and an assumed speed of an H100 in bfloat16, in full batches. Pass your
own: `--ms pose=31`. The rest is measured in this run, on this machine, with the product's own code: the time to list a
folder and the memory of the list, and the cost of an item in the database and as Parquet.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbones.errors import DiffsightError
from benchmarks._table import arguments, print_table, write_figures
from service.cluster.ray_package import require_ray
from service.jobs.records import Item, Outcome
from service.jobs.sources import Source, list_items
from service.jobs.store import JobStore

MS_AN_IMAGE: Mapping[str, float] = {
    "features": 7.0,  # an encode at 512 x 512 and one row that stops halfway
    "depth": 10.0,
    "segmentation": 10.0,
    "referring": 10.0,
    "few-shot": 11.0,
    "pose": 48.0,  # two persons, each an encode at 1024 x 768 and a row
    "zero-shot": 330.0,  # a race of 100 rows
}
"""Assumed, not measured."""
RESULT_NUMBERS: Mapping[str, int] = {
    "features": 1280,
    "depth": 12,
    "segmentation": 40,
    "referring": 30,
    "few-shot": 30,
    "pose": 2 * 17 * 3,
    "zero-shot": 60,
}
"""Numbers in one image's result, as jobs store it: maps are stored as run lengths and figures."""
DRIVER_BYTES = 16e9
"""Maximum memory of the command's process for a list."""
_FILES, _ITEMS, _PART = 4000, 2048, 256


@dataclass(frozen=True, slots=True)
class Measured:
    """The cost of one image on this machine, without the device. Seconds and bytes."""

    listing_seconds: float
    listing_bytes: float
    sql_seconds: float
    sql_bytes: float
    parquet_seconds: float
    parquet_bytes: float


def measure(folder: Path, numbers: int) -> Measured:
    """Measure each cost on a few thousand images, with `numbers` numbers in each result."""
    from service.cluster.parts import PartFolder

    pictures = folder / "pictures"
    for number in range(_FILES):
        place = pictures / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"photo-of-a-camera-{number:08d}.jpg").touch()
    source = Source(kind="folder", address=str(pictures))
    tracemalloc.start()
    items = list(list_items(source))
    listing_bytes = tracemalloc.get_traced_memory()[1] / _FILES
    tracemalloc.stop()
    started = time.perf_counter()
    items = list(list_items(source))
    listing_seconds = (time.perf_counter() - started) / _FILES
    outcomes = [outcome_of(item, numbers) for item in items[:_ITEMS]]
    sql = _measure_sql(folder / "jobs.db", items[:_ITEMS], outcomes)

    parts = PartFolder(folder / "out")
    started = time.perf_counter()
    for part in range(_ITEMS // _PART):
        first = part * _PART
        parts.write(part, items[first : first + _PART], outcomes[first : first + _PART])
    parquet_seconds = (time.perf_counter() - started) / _ITEMS
    parquet_bytes = sum(file.stat().st_size for file in (folder / "out").rglob("*.parquet")) / _ITEMS
    return Measured(listing_seconds, listing_bytes, *sql, parquet_seconds, parquet_bytes)


def outcome_of(item: Item, numbers: int) -> Outcome:
    """A result of `numbers` random numbers."""
    drawn = np.random.default_rng(item.position)
    result = {"image": {"width": 640, "height": 480}, "values": drawn.normal(size=numbers).round(6).tolist()}
    return Outcome(item.position, drawn.bytes(32).hex(), json.dumps(result))


def _measure_sql(file: Path, items: list[Item], outcomes: list[Outcome]) -> tuple[float, float]:
    """Seconds and bytes of an item in SQLite, listed and finished in transactions of 32."""
    store = JobStore(f"sqlite:///{file}")
    try:
        job = store.add("features", {}, {"kind": "folder", "address": "/x"}, local=True)
        started = time.perf_counter()
        store.add_items(job.id, items)
        for first in range(0, len(items), 32):
            store.finish(job.id, outcomes[first : first + 32])
        seconds = (time.perf_counter() - started) / len(items)
    finally:
        store.close()
    return seconds, sum(path.stat().st_size for path in file.parent.glob("jobs.db*")) / len(items)


def describe(
    measured: Measured, images: float, hours: float, gpus: int, rate: float, image_bytes: float
) -> Sequence[str]:
    """The columns of a task after its milliseconds. hours: of GPUs. rate: images a second of all of them."""
    return [
        f"{hours:,.0f}",
        f"{hours / gpus / 24:,.1f}",
        f"{rate:,.0f}",
        f"{images * measured.parquet_bytes / 1e9:,.0f}",
        f"{images * measured.sql_bytes / 1e9:,.0f}",
        f"{rate * measured.sql_seconds:.2f}",
        f"{rate * image_bytes * 8 / 1e9:.1f}",
    ]


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--images", type=float, default=1e8)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--image-bytes", type=float, default=200e3, help="of one file")
    parser.add_argument("--part", type=int, default=1024, help="images of one file of results")
    parser.add_argument("--ms", action="append", default=[], metavar="TASK=MS", help="milliseconds of a GPU an image")
    chosen = parser.parse_args()
    costs = dict(MS_AN_IMAGE)
    try:
        require_ray("benchmarks.scale_plan")
        costs |= {name: float(value) for name, value in (option.split("=", 1) for option in chosen.ms)}
    except (DiffsightError, ValueError) as error:
        print(f"benchmarks.scale_plan: {error}", file=sys.stderr)
        return 2
    images, gpus = chosen.images, chosen.gpus
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    measured: dict[str, Measured] = {}
    for task, milliseconds in costs.items():
        folder = Path(tempfile.mkdtemp(prefix="diffsight-bench-"))
        try:
            own = measured[task] = measure(folder, RESULT_NUMBERS.get(task, 100))
        finally:
            shutil.rmtree(folder)
        hours = images * milliseconds / 3.6e6
        rate = gpus * 1000 / milliseconds
        rows.append([task, f"{milliseconds:g}", *describe(own, images, hours, gpus, rate, chosen.image_bytes)])
        figures |= {f"{task}_gpu_hours": hours, f"{task}_parquet_gb": images * own.parquet_bytes / 1e9}
        figures |= {f"{task}_sql_busy": rate * own.sql_seconds}
    features = measured["features"]
    figures |= {
        "listing_hours": images * features.listing_seconds / 3600,
        "listing_gb": images * features.listing_bytes / 1e9,
        "most_images_of_a_command": DRIVER_BYTES / features.listing_bytes,
        "parts": images / chosen.part,
    }
    pieces = figures["most_images_of_a_command"] / 1e6
    notes = [
        f"{images:,.0f} images on {gpus} GPUs, for each task. GPU ms: assumed and not measured, or your own.",
        f"The list: {figures['listing_hours']:.1f} hours of one process, {figures['listing_gb']:,.0f} GB of memory: "
        f"give a command at most {pieces:,.0f} million images.",
        f"{figures['parts']:,.0f} files of results, of {chosen.part} images each.",
        "SQL busy: a row an image in one SQLite on this disk; from 1 on it, and not the GPUs, sets the pace: from "
        f"{1 / features.sql_seconds:,.0f} images/s of features, {1 / measured['pose'].sql_seconds:,.0f} of keypoints.",
    ]
    columns = ["task", "GPU ms", "GPU hours", "days", "images/s", "Parquet GB", "SQL GB", "SQL busy", "Gbit/s in"]
    print_table("A job of many images", columns, rows, notes)
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
