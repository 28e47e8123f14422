"""What loading a model costs: its memory during the load, and its effect on requests for another model.

A random Stable Diffusion of a few hundred MB is made, added as `diffsight models add` does, and loaded beside `pocket`:

- load_peak_over_weights: the maximum memory of this process during the load, over the bytes after it;
- reload_from_host_over_from_disk: seconds of a reload from host memory, over those of reading files (from the page
  cache, because they were just written), and host_peak_over_weights: the growth of memory during a move to host memory
  and back, over the weights (on a CPU the weights stay where they are);
- requests_during_load_over_without: /v1/features requests a second on `pocket` while the other model loads again and
  again, over those while nothing loads, in turns of one run.

The first load of a process does not count, because it also reads the libraries.
"""

from __future__ import annotations

import asyncio
import ctypes
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from backbones.loading.add import add_model
from benchmarks._table import arguments, print_table, write_figures
from heads.feature_pooling import features
from heads.inputs import DecodedImage, Inputs
from service.interpreter import keep_for_good, switch_often
from service.models.known import PUBLISHED
from service.models.store import ModelStore
from service.settings.loader import load_settings
from service.tasks import TASKS
from service.telemetry.metrics import Metrics
from tests.service.models.small_catalogue import BACKBONES, write_backbone

_PAGE = 4096
_LOOK_SECONDS = 0.002


def resident_bytes() -> int:
    """The memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


@contextmanager
def peak_of() -> Iterator[list[int]]:
    """Reads this process's memory every two milliseconds; the list gets the maximum."""
    peak, ended = [resident_bytes()], threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            peak[0] = max(peak[0], resident_bytes())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield peak
    finally:
        ended.set()
        looking.join()


def give_back_freed_memory() -> None:
    """Gives freed memory back to the system, so that the next maximum is visible."""
    ctypes.CDLL(None).malloc_trim(0)


async def load_peak(store: ModelStore, name: str) -> float:
    """The maximum of memory while a model loads, over its bytes."""
    store.unload(name)
    give_back_freed_memory()
    before = resident_bytes()
    with peak_of() as peak:
        await store.load(name)
    return (peak[0] - before) / store.slots[name].bytes


async def reload_from_host(store: ModelStore, name: str) -> tuple[float, float]:
    """Seconds of a reload from host memory over seconds of reading files, and the growth of memory meanwhile over the
    bytes.
    """
    store.unload(name)
    started = time.perf_counter()
    await store.load(name)
    from_disk = time.perf_counter() - started
    give_back_freed_memory()
    before = resident_bytes()
    with peak_of() as peak:
        store.unload(name, keep=True)
        started = time.perf_counter()
        await store.load(name)
        from_host = time.perf_counter() - started
    return from_host / from_disk, (peak[0] - before) / store.slots[name].bytes


async def requests_a_second(store: ModelStore, seconds: float, random: np.random.Generator) -> float:
    """Features requests a second of four clients on `pocket`, each on an image of its own."""
    done = 0
    ends = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            image = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
            async with store.use(features.TASK, "pocket") as loaded:
                with store.worker.session("features", backbone=loaded.model) as session:
                    options = features.TASK.options(timesteps=[100])
                    inputs = Inputs([DecodedImage(image, format="frame")])
                    await features.TASK.run(session, loaded.head, inputs, options, None)
            done += 1

    await asyncio.gather(*(client() for _ in range(4)))
    return done / seconds


async def keep_loading(store: ModelStore, name: str) -> None:
    """Load and unload until cancelled."""
    while True:
        await store.load(name)
        store.unload(name)


async def measure(models_folder: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Each figure's values, one for each round."""
    engine = {"host_memory_bytes": 4 << 30}
    settings = load_settings(models_folder=models_folder, models="pocket,sd15", device="cpu", engine=engine)
    store = ModelStore(settings, TASKS, Metrics())
    await store.start()
    if store.failure is not None:
        raise store.failure
    keep_for_good()  # as `diffsight serve` does
    random = np.random.default_rng(0)
    try:
        peaks = [await load_peak(store, "sd15") for _ in range(rounds)]
        reloads = [await reload_from_host(store, "sd15") for _ in range(rounds)]
        store.unload("sd15")
        ratios = []
        await requests_a_second(store, 1.0, random)
        for _ in range(rounds):
            without = await requests_a_second(store, seconds, random)
            loading = asyncio.create_task(keep_loading(store, "sd15"))
            ratios.append(await requests_a_second(store, seconds, random) / without)
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            while any(slot.state == "LOADING" for slot in store.slots.values()):
                await asyncio.sleep(0.05)
            if store.slots["sd15"].state == "READY":
                store.unload("sd15")
        return {
            "load_peak_over_weights": peaks,
            "reload_from_host_over_from_disk": [ratio for ratio, _ in reloads],
            "host_peak_over_weights": [peak for _, peak in reloads],
            "requests_during_load_over_without": ratios,
        }
    finally:
        store.stop()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--width", type=int, default=160, help="channels of the U-Net's finest level")
    chosen = parser.parse_args()
    switch_often()  # as `diffsight serve` does
    config, seed = BACKBONES["sd15"]
    width = chosen.width
    config = config | {"block_out_channels": (width, 2 * width, 4 * width, 4 * width), "norm_num_groups": 16}
    with tempfile.TemporaryDirectory() as folder:
        source = write_backbone(Path(folder) / "sd15", config, seed)
        add_model(
            PUBLISHED["sd15"],
            folder=Path(folder) / "models",
            source=str(source),
            any_size=True,
            say=lambda line: None,
        )
        measured = asyncio.run(measure(Path(folder) / "models", chosen.rounds, chosen.seconds))
    figures = {name: statistics.median(values) for name, values in measured.items()}
    rows = [[name, f"{figures[name]:.2f}", f"{min(values):.2f} to {max(values):.2f}"]
            for name, values in measured.items()]  # fmt: skip
    print_table("Loading a model beside another one", ["figure", "median", "rounds"], rows)
    write_figures(chosen.json, figures, rounds=chosen.rounds)


if __name__ == "__main__":
    main()
