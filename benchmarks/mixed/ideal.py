"""No server: the mixture of `benchmarks.mixed_load` in prepared full batches, on one thread.

Answers every line that it reads with one JSON line, so that it can take turns with the servers. usage: THREADS SECONDS
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.mixed.load import MIXTURE, PATHS, picture
from benchmarks.mixed.work import Work

IMAGES = 16


def main() -> int:
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    work = Work(threads)
    torch.set_num_threads(threads)
    batches = {task: [work.prepare(task, picture(number)) for number in range(IMAGES)] for task in PATHS}
    shares = {task: count / sum(MIXTURE.values()) for task, count in MIXTURE.items()}
    for task, batch in batches.items():
        work.run(task, batch)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        spent, done = dict.fromkeys(PATHS, 0.0), dict.fromkeys(PATHS, 0)
        began = time.perf_counter()
        while time.perf_counter() - began < seconds or not all(done.values()):
            task = min(PATHS, key=lambda name: done[name] / shares[name])
            started = time.perf_counter()
            work.run(task, batches[task])
            spent[task] += time.perf_counter() - started
            done[task] += IMAGES
        each = {task: spent[task] / max(1, done[task]) for task in PATHS}
        mean = sum(shares[task] * each[task] for task in PATHS)
        milliseconds = {task: 1000 * took for task, took in each.items()}
        print(json.dumps({"images_per_second": 1 / mean, "milliseconds": milliseconds}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
