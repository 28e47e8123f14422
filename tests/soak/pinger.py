"""Latency of /health/live, measured by a process of its own: the storm's clients themselves are delayed."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

EVERY_SECONDS = 0.05


@contextmanager
def start_pinger(url: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process that sends requests for so many seconds."""
    command = [sys.executable, "-m", "tests.soak.pinger", url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_times(process: subprocess.Popen[str]) -> list[float]:
    """Milliseconds of each answer, once it has ended."""
    assert process.stdout is not None
    times: list[float] = json.loads(process.stdout.read())
    return times


def ping(url: str, seconds: float) -> list[float]:
    """Milliseconds of each answer; one that fails counts as a minute."""
    times, ends = [], time.monotonic() + seconds
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    while time.monotonic() < ends:
        started = time.perf_counter()
        try:
            connection.request("GET", "/health/live")
            answered = connection.getresponse()
            answered.read()
            took = time.perf_counter() - started if answered.status == 200 else 60.0
        except (OSError, http.client.HTTPException):
            connection.close()
            took = 60.0
        times.append(took * 1000)
        time.sleep(EVERY_SECONDS)
    return times


if __name__ == "__main__":
    print(json.dumps(ping(sys.argv[1], float(sys.argv[2]))))
