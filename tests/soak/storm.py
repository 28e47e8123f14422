"""`make storm`: hundreds of clients, a third of which disconnect, and hostile ones. The last line has the figures.

python -m tests.soak.storm --seconds 300 --clients 200 --seed 0

Each answer is compared with that of the same request alone, before the storm. The status is 1 if an answer differs,
is lost or is another client's; if a hostile request is not refused as it should be; if `/health/live` is slow; or if
memory, descriptors or threads are not released.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from tests.soak.hostile import Attack, attacks, form
from tests.soak.jobs import is_ready
from tests.soak.pinger import read_times, start_pinger

TOLERANCE = 1e-4
LIVE_P99_MS, LIVE_WORST_MS = 100.0, 1000.0
_SETTLE_SECONDS = 15.0
_WARM_UP_SECONDS = 20.0
_IDLE_SECONDS = 5.0
# So that requests that still wait at the end of the storm, or of its warm-up, end soon.
_DEADLINE_SECONDS = 30
_REFUSED = (429, 503, 504)
_ATTACKERS = 3


@dataclass(frozen=True, slots=True)
class UsualRequest:
    """A usual request: path, body and content type."""

    path: str
    body: bytes
    content_type: str


@dataclass
class Findings:
    """The clients' counts. wrong: texts by kind of fault, each once."""

    statuses: Counter[int] = field(default_factory=Counter)
    answered: int = 0
    vanished: int = 0
    attacks: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    unequal: int = 0
    wrong: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """The resources of a process. memory in bytes."""

    memory: int
    descriptors: int
    threads: int


def use_of(pid: int) -> ResourceUse:
    """The resources of a process, by /proc."""
    folder = Path(f"/proc/{pid}")
    resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return ResourceUse(resident, len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir())))


def pictures(count: int, seed: int) -> list[bytes]:
    """Small PNGs of noise, all different."""
    drawn, files = np.random.default_rng(seed), []
    for _ in range(count):
        file = BytesIO()
        Image.fromarray(drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def usual_requests(seed: int) -> list[UsualRequest]:
    """Requests of several tasks and both kinds of bodies."""
    requests = []
    for number, picture in enumerate(pictures(24, seed)):
        image = ("image", "a.png", picture)
        kind = number % 4
        if kind == 0:
            requests.append(UsualRequest("/v1/features", *form([image, ("timesteps", "", b"[50, 300]")])))
        elif kind == 1:
            few = ("schedule", "", b'{"n_samples": [4], "to_keep": [1]}')
            parts = [image, ("labels", "", b"a zero"), ("labels", "", b"a red ball"), few]
            requests.append(UsualRequest("/v1/classify/zero-shot", *form(parts)))
        elif kind == 2:
            requests.append(UsualRequest("/v1/depth?maps=false", picture, "image/png"))
        else:
            requests.append(UsualRequest("/v1/features?timesteps=100", picture, "image/png"))
    return requests


def numbers_of(value: Any) -> Iterator[float]:
    """Every number of an answer in order, except timings and rows."""
    if isinstance(value, dict):
        for name in sorted(value.keys() - {"timing", "rows"}):
            yield from numbers_of(value[name])
    elif isinstance(value, list):
        for item in value:
            yield from numbers_of(item)
    elif isinstance(value, int | float):
        yield float(value)


def is_equal(actual: Any, expected: Any) -> bool:
    """Whether two answers have the same numbers within the tolerance of batching."""
    first, second = list(numbers_of(actual)), list(numbers_of(expected))
    return len(first) == len(second) and bool(np.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE))


class Storm:
    """Clients of one server."""

    def __init__(self, url: str, requests: list[UsualRequest], references: list[Any], chance: random.Random) -> None:
        self.url, self.requests, self.references, self.chance = url, requests, references, chance
        self.findings = Findings()
        self.ends = 0.0
        self.numbers = 0

    async def run(self, seconds: float, clients: int, hostile: list[Attack]) -> None:
        """Run so many clients for so many seconds."""
        self.ends = time.monotonic() + seconds
        unbounded = httpx2.Limits(max_connections=None, max_keepalive_connections=clients)
        async with (
            httpx2.AsyncClient(base_url=self.url, timeout=120, limits=unbounded) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(clients):
                group.create_task(self._vanish() if number % 3 == 0 else self._ask(client))
            for number in range(_ATTACKERS):
                group.create_task(self._attack(client, hostile[number:] + hostile[:number]))

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        while time.monotonic() < self.ends:
            place = self.chance.randrange(len(self.requests))
            request = self.requests[place]
            self.numbers += 1
            name = f"storm-{self.numbers}"
            headers = {"Content-Type": request.content_type, "X-Request-ID": name}
            try:
                answer = await client.post(request.path, content=request.body, headers=headers)
            except httpx2.HTTPError as error:
                self.findings.lost += 1
                self.findings.wrong.setdefault(f"lost: {type(error).__name__}", f"{request.path}: {error}")
                continue
            self.findings.statuses[answer.status_code] += 1
            self.findings.answered += 1
            if answer.headers.get("x-request-id") != name:
                self.findings.doubled += 1
            if answer.status_code in _REFUSED:
                await asyncio.sleep(self.chance.uniform(0.1, 1.0))
            elif answer.status_code != 200:
                self.findings.wrong.setdefault(f"{request.path}: {answer.status_code}", answer.text[:500])
            elif not is_equal(answer.json(), self.references[place]):
                self.findings.unequal += 1

    async def _vanish(self) -> None:
        """Send a request, whole or in part, and hang up before its answer."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        while time.monotonic() < self.ends:
            request = self.chance.choice(self.requests)
            head = f"POST {request.path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {request.content_type}\r\n"
            sent = head.encode() + f"Content-Length: {len(request.body)}\r\n\r\n".encode() + request.body
            with suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(sent[: self.chance.randint(len(head), len(sent))])
                await asyncio.sleep(self.chance.uniform(0, 0.5))
                writer.close()
            self.findings.vanished += 1
            await asyncio.sleep(self.chance.uniform(0, 0.5))

    async def _attack(self, client: httpx2.AsyncClient, hostile: list[Attack]) -> None:
        while time.monotonic() < self.ends:
            for attack in hostile:
                if time.monotonic() > self.ends:
                    break
                headers = {"Content-Type": attack.content_type, **attack.headers}
                try:
                    answer = await client.post(attack.path, content=attack.body, headers=headers)
                except httpx2.HTTPError as error:
                    # If the server closes the connection while the client still sends a header, the answer may be lost.
                    if 431 not in attack.allowed:
                        self.findings.wrong.setdefault(f"{attack.name}: {type(error).__name__}", str(error))
                else:
                    if answer.status_code not in (*attack.allowed, *_REFUSED):
                        self.findings.wrong.setdefault(f"{attack.name}: {answer.status_code}", answer.text[:500])
                self.findings.attacks[attack.name] += 1


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server as a process of its own: its address and process id."""
    sources = folder / "pictures"
    sources.mkdir()
    os.mkfifo(sources / "pipe.png")
    name = "IMG_20261128_103512_burst_cover_edited_final_version.png"
    (sources / name).write_bytes(pictures(1, 99)[0])
    settings = {
        "DATA_FOLDER": str(folder / "data"),
        "JOBS__SOURCES": str(sources),
        "LIMITS__DEADLINE_SECONDS": str(_DEADLINE_SECONDS),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DIFFSIGHT_")}
    environment |= {f"DIFFSIGHT_{key}": value for key, value in {**settings, "LOG_LEVEL": "error"}.items()}
    command = [sys.executable, "-m", "diffsight", "serve", "--port", "0"]
    log = (folder / "log").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert address is not None, "the server did not start"
            with httpx2.Client(base_url=address[0]) as client:
                while not is_ready(client):
                    assert process.poll() is None, "the server ended"
                    time.sleep(0.2)
            yield address[0], process.pid
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()


def ask_alone(url: str, requests: list[UsualRequest]) -> list[Any]:
    """The answers, one after another."""
    answers = []
    with httpx2.Client(base_url=url, timeout=60) as client:
        for request in requests:
            answer = client.post(request.path, content=request.body, headers={"Content-Type": request.content_type})
            assert answer.status_code == 200, f"{request.path}: {answer.text}"
            answers.append(answer.json())
    return answers


def storm(folder: Path, *, seconds: float, clients: int, seed: int) -> tuple[str, list[str]]:
    """The figures in one line, and the faults."""
    requests, chance = usual_requests(seed), random.Random(seed)
    _print_stage("the server starts")
    with served(folder) as (url, pid):
        _print_stage("each request alone")
        references = ask_alone(url, requests)
        with start_pinger(url, _IDLE_SECONDS) as pinger:
            idle = read_times(pinger)
        hostile = attacks(pictures(1, seed)[0], str(folder / "pictures"))
        _print_stage("the server warms up")
        # Threads and freed memory that a server keeps after load are part of its state at rest.
        asyncio.run(Storm(url, requests, references, chance).run(min(_WARM_UP_SECONDS, seconds), clients, hostile))
        time.sleep(_SETTLE_SECONDS)
        before = use_of(pid)
        _print_stage("the storm")
        load = Storm(url, requests, references, chance)
        with start_pinger(url, seconds) as pinger:
            asyncio.run(load.run(seconds, clients, hostile))
            times = read_times(pinger)
        time.sleep(_SETTLE_SECONDS)
        after = use_of(pid)
        unequal_after = sum(
            not is_equal(actual, expected)
            for actual, expected in zip(ask_alone(url, requests), references, strict=True)
        )
    return judge(load.findings, idle, times, before, after, unequal_after, clients, seconds)


def _print_stage(stage: str) -> None:
    """Print the stage that begins, with the load of the machine."""
    print(f"{time.strftime('%X')} load {os.getloadavg()[0]:.1f}: {stage}", file=sys.stderr, flush=True)


def judge(
    findings: Findings,
    idle: list[float],
    times: list[float],
    before: ResourceUse,
    after: ResourceUse,
    unequal_after: int,
    clients: int,
    seconds: float,
) -> tuple[str, list[str]]:
    """The line, and its faults.

    idle, times: milliseconds of each answer of /health/live, before the storm and in it.
    """
    p99, worst = float(np.percentile(times, 99)), max(times)
    growth = after.memory / before.memory - 1
    line = (
        f"storm: {clients} clients, {seconds:.0f} s: /health/live p99 {p99:.0f} ms, worst {worst:.0f} ms "
        f"(before it {np.percentile(idle, 99):.0f} and {max(idle):.0f}, median {np.median(idle):.1f}); "
        f"memory {before.memory >> 20} to {after.memory >> 20} MiB, descriptors {before.descriptors} to "
        f"{after.descriptors}, threads {before.threads} to {after.threads}; {findings.answered} answers "
        f"{dict(sorted(findings.statuses.items()))}, {findings.lost} lost, "
        f"{findings.doubled} doubled, {findings.unequal} unequal; "
        f"{findings.vanished} vanished; {sum(findings.attacks.values())} hostile"
    )
    wrong = [f"{name}: {text}" for name, text in findings.wrong.items()]
    checks = {
        "answers were lost, doubled or unequal": findings.lost or findings.doubled or findings.unequal or unequal_after,
        "/health/live was late": p99 >= LIVE_P99_MS or worst >= LIVE_WORST_MS,
        "memory did not come back": growth > 0.1,
        "descriptors did not come back": after.descriptors > before.descriptors + 8,
        "threads did not come back": after.threads > before.threads * 1.1 + 2,
    }
    return line, wrong + [name for name, is_wrong in checks.items() if is_wrong]


def main() -> int:
    """0 if there is no fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.storm", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="how long")
    parser.add_argument("--clients", type=int, default=200, help="how many at once, a third of whom vanish")
    parser.add_argument("--seed", type=int, default=0, help="other pictures, another order")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffsight-storm-") as folder:
        line, wrong = storm(Path(folder), seconds=arguments.seconds, clients=arguments.clients, seed=arguments.seed)
    print(json.dumps(wrong, indent=1) if wrong else "nothing wrong")
    print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
