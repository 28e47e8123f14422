"""The service and a job on Ray, compared with the same without Ray: one server, 1 and 2 replicas; one job, 1 and 2
actors.

16 clients send requests for features of small pictures, which are new to every cache, and send the next after each
answer. A job computes keypoints of rendered scenes, by `diffsight annotate` with and without `--ray`. Each method
starts again and is warm when its time begins; the time of a job is the time from its first result to its last.
Everything runs on this machine: clients, proxies, replicas and Ray's own processes share its cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

from backbones.errors import DiffsightError
from benchmarks._table import arguments, print_table, write_figures
from benchmarks.jobs import write_data_set
from benchmarks.mixed_load import free_port
from service.cluster.ray_package import NODE_ENVIRONMENT, require_ray
from service.jobs.database import default_url

ROOT = Path(__file__).parents[1]
CLIENTS = 16
_SECONDS = 600.0


def environment(data: Path) -> dict[str, str]:
    """The environment of a process with one torch thread, so that two processes have a core each."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFSIGHT_")}
    own = {"DATA_FOLDER": str(data), "DEVICE": "cpu", "LOG_LEVEL": "error", "OFFLINE": "true"}
    own |= {"ENGINE__TORCH_THREADS": "1", "ENGINE__LANES": "1"}
    settings = {f"DIFFSIGHT_{name}": value for name, value in own.items()}
    return {**inherited, **settings, **NODE_ENVIRONMENT, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def served(folder: Path, options: Sequence[str]) -> Iterator[str]:
    """The address of a ready `diffsight serve` with these options."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "diffsight", "serve", "--port", url.rpartition(":")[2], *options]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(folder / "data"), stdout=log, stderr=log)
        try:
            _wait_until_ready(url, process, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(120)
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    started = time.monotonic()
    while time.monotonic() - started < _SECONDS:
        with suppress(httpx2.HTTPError):
            if httpx2.get(f"{url}/health/ready", timeout=10).status_code == 200:
                return
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError(f"the service did not start:\n{log.read_text()[-2000:]}")


async def ask(url: str, seconds: float, seed: int) -> float:
    """Requests a second that are answered to all clients together."""
    drawn = np.random.default_rng(seed)
    ends, answered = time.perf_counter() + seconds, 0

    async def client_loop(client: httpx2.AsyncClient) -> None:
        nonlocal answered
        while time.perf_counter() < ends:
            file = BytesIO()
            Image.fromarray(drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG", compress_level=1)
            headers = {"Content-Type": "image/png"}
            answer = await client.post("/v1/features?timesteps=100", content=file.getvalue(), headers=headers)
            answer.raise_for_status()
            answered += 1

    async with httpx2.AsyncClient(base_url=url, timeout=120) as client, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client_loop(client))
    return answered / seconds


def requests_per_second(folder: Path, options: Sequence[str], seconds: float, seed: int) -> float:
    """Requests a second of the service with these options, when it is warm."""
    with served(folder, options) as url:
        asyncio.run(ask(url, min(seconds, 5.0), seed))
        return asyncio.run(ask(url, seconds, seed + 1))


def images_per_second(folder: Path, file: Path, images: int, actors: int) -> float:
    """Images a second of a job: with one process without Ray for 0 actors, else with so many actors on Ray."""
    out = folder / f"out{actors}"
    data = folder / f"data{actors}"
    command = [sys.executable, "-m", "diffsight", "annotate", str(file), "--task", "pose", "--out"]
    if actors:
        command += [str(out), "--ray", "local", "--ray-actors", str(actors), "--ray-part", "16"]
    else:
        command += [f"{out}.jsonl"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(data), stderr=subprocess.DEVNULL)
    times: list[tuple[float, int]] = []
    while process.poll() is None:
        done = _count_parts(out) * 16 if actors else _count_results(data)
        if not times or done != times[-1][1]:
            times.append((time.perf_counter(), done))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the job failed: {' '.join(command)}")
    # The start is left out, and the first and last images, when not all actors work.
    (first, before), (last, after) = _middle(times, images)
    return (after - before) / (last - first)


def _middle(times: Sequence[tuple[float, int]], images: int) -> tuple[tuple[float, int], tuple[float, int]]:
    """The first time at which a tenth of all images are done, and the last before nine tenths are exceeded."""
    begun = next(moment for moment in times if moment[1] >= images / 10)
    ended = next((moment for moment in reversed(times) if moment[1] <= images * 9 / 10), times[-1])
    return begun, ended if ended[0] > begun[0] else times[-1]


def _count_parts(out: Path) -> int:
    return len(list(out.glob("results/*/[0-9]*.parquet")))


def _count_results(data: Path) -> int:
    import sqlite3

    file = default_url(data).removeprefix("sqlite:///")
    with suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
        try:
            return int(connection.execute("SELECT count(*) FROM results").fetchone()[0])
        finally:
            connection.close()
    return 0


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=20.0, help="of requests to each service")
    parser.add_argument("--images", type=int, default=600, help="of each job")
    chosen = parser.parse_args()
    try:
        require_ray("benchmarks.ray")
    except DiffsightError as error:
        print(f"benchmarks.ray: {error}", file=sys.stderr)
        return 2
    ways = {0: (), 1: ("--ray", "local", "--replicas", "1"), 2: ("--ray", "local", "--replicas", "2")}
    with tempfile.TemporaryDirectory(prefix="diffsight-bench-") as name:
        folder = Path(name)
        served_rates = {
            count: requests_per_second(folder, options, chosen.seconds, 10 * count) for count, options in ways.items()
        }
        file = write_data_set(folder / "pictures", chosen.images, 2, 128, 0)
        rates = {count: images_per_second(folder, file, chosen.images, count) for count in ways}
    figures = {
        "serve_overhead_1": served_rates[1] / served_rates[0],
        "serve_two_over_one": served_rates[2] / served_rates[1],
        "serve_two_over_direct": served_rates[2] / served_rates[0],
        "data_overhead_1": rates[1] / rates[0],
        "data_two_over_one": rates[2] / rates[1],
        "data_two_over_direct": rates[2] / rates[0],
        "direct_requests_per_second": served_rates[0],
        "direct_images_per_second": rates[0],
        "cores": float(os.cpu_count() or 1),
    }
    names = {0: "without Ray", 1: "Ray, one", 2: "Ray, two"}
    print_table(
        f"Ray on one machine of {os.cpu_count()} cores, which clients and Ray's own processes share",
        ["way", "requests/s", "over direct", "images/s", "over direct"],
        [
            [
                names[count],
                f"{served_rates[count]:.1f}",
                f"{served_rates[count] / served_rates[0]:.2f}",
                f"{rates[count]:.1f}",
                f"{rates[count] / rates[0]:.2f}",
            ]
            for count in ways
        ],
        ["requests: features of 64 x 64 pictures, 16 clients; images: two persons each; one torch thread a process"],
    )
    write_figures(chosen.json, figures)
    print(json.dumps({name: round(figure, 3) for name, figure in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
