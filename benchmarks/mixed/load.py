"""The load of `benchmarks.mixed_load`, in a process of its own: clients that send the next request after each answer.

Prints one JSON object. Implements HTTP itself, so that the client takes little CPU time from the measured server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

LABELS = ["ball", "cube", "cone", "person", "table"]
PATHS = {"depth": "/v1/depth", "pose": "/v1/pose", "features": "/v1/features", "zero_shot": "/v1/classify/zero-shot"}
MIXTURE = {"depth": 8, "pose": 5, "features": 5, "zero_shot": 2}
SAMPLES, LARGE_SAMPLES = 4, 200
"""Timesteps of each label: 20 rows for a usual zero-shot request, 1,000 for a large one."""

PICTURES = Path(__file__).parents[2] / "training/world/held_out/scenes/images"


def picture(number: int) -> bytes:
    """A JPEG of 128 x 128 that differs for every number: a held-out scene, mirrored or not, with noise over it."""
    files = sorted(PICTURES.glob("*.png"))
    drawn = np.random.default_rng(number)
    array = np.asarray(Image.open(files[number % len(files)]).convert("RGB"), dtype=np.int16)
    array = array[:, ::-1] if drawn.integers(2) else array
    array = array + drawn.integers(-4, 5) + drawn.integers(-3, 4, array.shape, dtype=np.int16)
    file = BytesIO()
    Image.fromarray(array.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def samples_of(query: Any) -> int:
    """Timesteps of each label in a request's query."""
    return int(json.loads(query["schedule"])["n_samples"][0]) if "schedule" in query else SAMPLES


def request_of(host: str, task: str, data: bytes, *, as_json: bool, samples: int = SAMPLES) -> bytes:
    """The whole HTTP request. as_json: the image in base64 and the options beside it, else the image itself."""
    schedule = {"n_samples": [samples], "to_keep": [1]}
    path, kind, body = PATHS[task], "image/jpeg", data
    if as_json:
        fields: dict[str, Any] = {"image": base64.b64encode(data).decode()}
        fields |= {"labels": LABELS, "schedule": schedule} if task == "zero_shot" else {}
        kind, body = "application/json", json.dumps(fields).encode()
    elif task == "zero_shot":
        path += "?" + urlencode([*(("labels", label) for label in LABELS), ("schedule", json.dumps(schedule))])
    elif task == "pose":
        path += "?persons=whole_image"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """A persistent connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(status.split(" ")[1]), body

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def tasks_in_order(mixture: Mapping[str, int], seed: int) -> Iterator[str]:
    """An endless sequence of tasks; in each block, every task occurs as often as in the mixture."""
    drawn = random.Random(seed)
    block = [task for task, count in mixture.items() for _ in range(count)]
    while True:
        drawn.shuffle(block)
        yield from block


def processor_seconds(processes: Sequence[int]) -> float:
    """CPU seconds of a process and its children."""
    ticks, waiting, seen = 0, list(processes), set[int]()
    while waiting:
        process = waiting.pop()
        if process in seen:
            continue
        seen.add(process)
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            waiting += [
                int(child)
                for children in Path(f"/proc/{process}/task").glob("*/children")
                for child in children.read_text().split()
            ]
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def run_load(options: argparse.Namespace) -> dict[str, Any]:
    """The clients' results after the warm-up, for `seconds`, or until a large request has its answer."""
    mixture = {task: count for task, count in MIXTURE.items() if task != "zero_shot" or not options.without_zero_shot}
    tasks, numbers = tasks_in_order(mixture, options.seed), iter(range(options.first, sys.maxsize))
    pictures = {number: picture(number) for number in range(options.first, options.first + options.pictures)}
    records: list[tuple[str, float, float]] = []
    errors: list[str] = []
    stopped = asyncio.Event()

    async def ask(connection: Connection, task: str, samples: int, name: str) -> None:
        number = next(numbers)
        data = pictures.pop(number, None) or picture(number)
        request = request_of(connection.host, task, data, as_json=options.json, samples=samples)
        started = time.perf_counter()
        status, body = await connection.send(request)
        records.append((name, started, time.perf_counter()))
        if status != 200:
            errors.append(f"{task}: {status} {body[:200].decode(errors='replace')}")

    async def repeat(connection: Connection) -> None:
        while not stopped.is_set():
            task = next(tasks)
            await ask(connection, task, SAMPLES, task)

    clients = [asyncio.ensure_future(repeat(Connection(options.url))) for _ in range(options.clients)]
    await asyncio.sleep(options.warm)
    first, used, own = time.perf_counter(), processor_seconds(options.pid), time.process_time()
    if options.large:
        with suppress(TimeoutError):
            async with asyncio.timeout(options.patience):
                await ask(Connection(options.url), "zero_shot", LARGE_SAMPLES, "large")
    else:
        await asyncio.sleep(options.seconds)
    last, used, own = (
        time.perf_counter(), processor_seconds(options.pid) - used, time.process_time() - own,
    )  # fmt: skip
    stopped.set()
    _, late = await asyncio.wait(clients, timeout=options.patience)
    for client in clients:
        if client.done() and client.exception() is not None:
            errors.append(repr(client.exception()))
        client.cancel()
    return {
        **summarise(records, first, last),
        "server_processor_share": used / (last - first),
        "client_processor_share": own / (last - first),
        "errors": errors[:5],
        "unanswered": len(late),
        "next": next(numbers),
    }


def summarise(records: Sequence[tuple[str, float, float]], first: float, last: float) -> dict[str, Any]:
    """Images a second without the large request, and milliseconds by task, of requests that ended between two times."""
    milliseconds: dict[str, list[float]] = {}
    images = 0
    for task, started, ended in records:
        if first <= ended <= last:
            milliseconds.setdefault(task, []).append(1000 * (ended - started))
            images += task != "large"
    return {
        "seconds": last - first,
        "images_per_second": images / (last - first),
        "tasks": {
            task: {"count": len(own), **{f"p{p}": float(np.percentile(own, p)) for p in (50, 99)}}
            for task, own in sorted(milliseconds.items())
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed.load", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--large", action="store_true", help="a request of 1,000 rows beside the others, to its end")
    parser.add_argument("--without-zero-shot", action="store_true", help="of the usual clients")
    parser.add_argument("--json", action="store_true", help="send images in base64")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--warm", type=float, default=4, help="seconds before those that count")
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds that a large request, and the last answers, may take"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    parser.add_argument("--pictures", type=int, default=2000, help="made before the first request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pid", type=int, nargs="*", default=[], help="processes whose time is measured")
    print(json.dumps(asyncio.run(run_load(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
