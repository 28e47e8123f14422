"""`make soak`: the engine at saturation for ten minutes. The last line has the counts.

python -m tests.soak.engine --seconds 600 --clients 32 --seed 0

Clients of four tasks send requests to the worker without a pause, on as many lanes as the cores hold. A fifth of them
disconnect before their answers. Memory runs out in some batches and others fail; a second model is opened, used and
dropped again and again. Every answer is compared with that of the same request alone. The status is 1 if an answer
differs, is lost or doubled, if a request still waits at the end, or if memory has grown.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from backbones.engine import DirectEngine, complete
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.rows import UNetRow
from backbones.stable_diffusion import StableDiffusion
from heads.diffusion_classifier import zero_shot
from heads.feature_pooling import features
from heads.inputs import DecodedImage, Inputs
from heads.sdpose import pose
from heads.sdpose.poses import PoseOptions
from heads.vpd import depth
from service.engine.host_cpu import count_lanes, count_threads, prepare_host
from service.engine.worker import DeviceWorker
from service.models.loading import OpenHeads, open_model
from service.models.start_up import build_worker
from service.settings.loader import load_settings
from service.tasks import TASKS, AnyTask
from tests.backbones.small_models import WEIGHTS
from tests.service.engine.hand_driven import FaultyBackbone
from tests.soak.storm import use_of

PICTURES = 6
# Floats of a batch differ in the last digits; a keypoint is the logarithm of such numbers, in pixels.
TOLERANCES = {"depth": 1e-3, "pose": 0.1, "features": 1e-3, "zero-shot": 1e-3}
VANISHING, OUT_OF_MEMORY, FAILING = 0.2, 0.02, 0.01
LABELS = ["ball", "cube", "person"]
GROWTH = 1.15
MOST_WITHOUT_FAULT = 1000
"""Batches of a run that is too short to have a fault."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task with its options, and its head."""

    task: AnyTask
    head: Any
    options: Any


@dataclass(slots=True)
class Counts:
    """The counts. wrong: the errors of requests, by their text."""

    answers: Counter[str] = field(default_factory=Counter)
    vanished: int = 0
    unequal: int = 0
    lost: int = 0
    models: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)


def list_requests(heads: OpenHeads) -> list[TaskRequest]:
    """Four tasks on the embedded backbone."""
    rounds = zero_shot.RoundsRequest(n_samples=[4], to_keep=[1])
    options: dict[Any, Any] = {
        depth.TASK: depth.DepthOptions(),
        pose.TASK: PoseOptions(persons="whole_image"),
        features.TASK: features.FeaturesOptions(),
        zero_shot.TASK: zero_shot.ZeroShotOptions(labels=LABELS, schedule=rounds),
    }
    return [TaskRequest(task, heads.require(task), own) for task, own in options.items()]


def numbers_of(task: str, result: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The numbers of a typed result, flat."""
    values: dict[str, Callable[[], Any]] = {
        "depth": lambda: result.metres,
        "pose": lambda: result.keypoints.points,
        "features": lambda: result.vectors,
        "zero-shot": lambda: np.array(result.mean_errors),
    }
    return np.asarray(values[task](), dtype=np.float64).ravel()


class Soak:
    """Clients of one worker."""

    def __init__(self, worker: DeviceWorker, heads: OpenHeads, chance: random.Random) -> None:
        self.worker, self.chance, self.counts = worker, chance, Counts()
        drawn = np.random.default_rng(chance.randrange(1 << 30))
        self.pictures = [DecodedImage(drawn.integers(0, 256, (96, 128, 3), dtype=np.uint8)) for _ in range(PICTURES)]
        self.requests = list_requests(heads)
        self.model = FaultyBackbone(heads.backbone, self._fault)  # type: ignore[arg-type]
        direct = DirectEngine(heads.backbone)
        self.references = {
            (request.task.name, place): numbers_of(request.task.name, complete(self._run(direct, request, place)))
            for request in self.requests
            for place in range(PICTURES)
        }

    async def run(self, seconds: float, clients: int) -> None:
        """Load for so long, then wait until all requests are answered."""
        self.ends = time.monotonic() + seconds
        await asyncio.gather(*[self._client() for _ in range(clients)], self._change_models())

    def _fault(self, rows: Sequence[UNetRow]) -> None:
        # A fault in a batch of one row would fail its request.
        drawn = self.chance.random()
        if len(rows) > 1 and drawn < OUT_OF_MEMORY:
            self.counts.faults["out of memory"] += 1
            raise torch.OutOfMemoryError("injected")
        if len(rows) > 1 and drawn < OUT_OF_MEMORY + FAILING:
            self.counts.faults["failed"] += 1
            raise RuntimeError("injected")

    def _run(self, engine: Any, request: TaskRequest, place: int) -> Any:
        run: Any = request.task.run
        return run(engine, request.head, Inputs((self.pictures[place],)), request.options)

    async def _client(self) -> None:
        while time.monotonic() < self.ends:
            request, place = self.chance.choice(self.requests), self.chance.randrange(PICTURES)
            task: asyncio.Future[Any] = asyncio.ensure_future(self._send_once(request, place))
            if self.chance.random() < VANISHING:
                await asyncio.sleep(self.chance.uniform(0, 0.5))
                task.cancel()
            outcomes: Sequence[Any] = await asyncio.gather(task, return_exceptions=True)
            outcome = outcomes[0]
            if isinstance(outcome, asyncio.CancelledError):
                self.counts.vanished += 1
            elif isinstance(outcome, BaseException):
                self.counts.lost += 1
                self.counts.wrong[repr(outcome)[:200]] += 1
            else:
                self._compare(request.task.name, place, outcome)

    async def _send_once(self, request: TaskRequest, place: int) -> Any:
        with self.worker.session(request.task.name, backbone=self.model, bulk=self.chance.random() < 0.2) as session:
            return await self._run(session, request, place)

    def _compare(self, task: str, place: int, result: Any) -> None:
        self.counts.answers[task] += 1
        numbers, expected = numbers_of(task, result), self.references[task, place]
        if numbers.shape != expected.shape or np.abs(numbers - expected).max() > TOLERANCES[task]:
            self.counts.unequal += 1
            self.counts.wrong[f"{task} differs by {np.abs(numbers - expected).max():g}"] += 1

    async def _change_models(self) -> None:
        """Open another model, ask it, and drop it."""
        while time.monotonic() < self.ends:
            other: StableDiffusion = await asyncio.to_thread(load_diffusers_folder, WEIGHTS / "sd1")
            inputs = Inputs((self.pictures[0],))
            head, options = features.open_features(other), features.FeaturesOptions()
            with self.worker.session("other", backbone=other) as session:
                result = await features.run_features(session, head, inputs, options)
            alone = await features.run_features(DirectEngine(other), head, inputs, options)
            self.counts.unequal += not np.allclose(result.vectors, alone.vectors, rtol=1e-3, atol=1e-3)
            self.counts.models += 1
            await asyncio.sleep(0.5)


def soak(seconds: float, clients: int, seed: int) -> tuple[str, list[str]]:
    """The figures in one line, and the faults."""
    settings = load_settings(backbone="pocket", device="cpu", engine={"latent_cache_bytes": 0})
    backbone = open_model(settings)
    worker, heads = build_worker(settings, backbone), OpenHeads(settings, backbone, TASKS)
    worker.start()
    networks = [backbone.variants[""].unet]
    lanes = count_lanes(count_threads(networks, settings), settings, "cpu")
    worker.prepare_lanes(lanes, lambda: prepare_host(networks, settings))
    load = Soak(worker, heads, random.Random(seed))
    # Threads and freed memory that a process keeps after load are part of its state at rest.
    asyncio.run(load.run(min(20.0, seconds), clients))
    gc.collect()
    before, counts = use_of(os.getpid()), load.counts
    asyncio.run(load.run(seconds, clients))
    gc.collect()
    after, figures = use_of(os.getpid()), worker.figures()
    worker.stop()
    checks = {
        "answers were lost": counts.lost,
        "answers differ": counts.unequal,
        "something still waits": figures.waiting_rows or figures.requests_open or figures.running_rows,
        "memory has grown": after.memory > GROWTH * before.memory,
        "no fault was met": not counts.faults and figures.batches_total > MOST_WITHOUT_FAULT,
    }
    line = (
        f"soak: {clients} clients, {lanes} lanes, {seconds:.0f} s: {sum(counts.answers.values())} answers "
        f"{dict(sorted(counts.answers.items()))}, {counts.lost} lost, {counts.unequal} unequal, "
        f"{counts.vanished} vanished; faults {dict(counts.faults)}; "
        f"{counts.models} models opened and dropped; {figures.rows_total} rows in "
        f"{figures.batches_total} batches; memory {before.memory >> 20} to {after.memory >> 20} MiB"
    )
    return line, [name for name, is_wrong in checks.items() if is_wrong] + [str(text) for text in counts.wrong]


def main() -> int:
    """0 if there is no fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.engine", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long")
    parser.add_argument("--clients", type=int, default=32, help="how many at once")
    parser.add_argument("--seed", type=int, default=0, help="other pictures, another order")
    chosen = parser.parse_args()
    line, wrong = soak(chosen.seconds, chosen.clients, chosen.seed)
    print(json.dumps(wrong, indent=1) if wrong else "nothing wrong")
    print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
