"""Depth, features and zero-shot of SD 1.5 and pose of SD 2.1 at once from 32 clients, on one worker and one at a time.

In one process and without HTTP, so that what is measured is the device's work and its queue: `benchmarks.mixed_load`
does the same with the embedded backbone and real servers. The mixture is the same too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.backbone import Backbone
from backbones.engine import DirectEngine, Engine
from backbones.stable_diffusion import StableDiffusion
from benchmarks._full_networks import build_backbone
from benchmarks.gpu_check.published_loops import make_pose_model
from benchmarks.gpu_check.setup import Setup
from benchmarks.mixed.load import LABELS, MIXTURE, SAMPLES
from heads.diffusion_classifier.classify import classify
from heads.diffusion_classifier.schedule import Schedule
from heads.feature_pooling.features import pool_features
from heads.sdpose.estimation import estimate_poses
from heads.vpd.checkpoint import list_feature_channels
from heads.vpd.depth import predict_depth
from heads.vpd.depth_network import DepthNetwork
from heads.vpd.features import find_feature_layers
from heads.vpd.heads import DepthHead
from service.engine.worker import DeviceWorker

Image = NDArray[np.uint8]
Ask = Callable[[Engine, Image], Awaitable[object]]
CLIENTS = 32


def measure(setup: Setup) -> dict[str, Any]:
    """Images a second of both, their ratio, and milliseconds of each task at the median and at p99."""
    text, pose = (build_backbone(kind, setup.dtype, setup.device, setup.sizes) for kind in ("sd15", "sd21"))
    tasks = make_tasks(setup, text, pose)
    seconds = 0.1 if setup.small else 15.0
    worker = DeviceWorker(max_batch_rows=0)
    worker.start()
    try:
        asyncio.run(_under_clients(worker, tasks, seconds / 3))
        rate, waited = asyncio.run(_under_clients(worker, tasks, seconds))
    finally:
        worker.stop()
    single = asyncio.run(_one_at_a_time(tasks, seconds))
    figures: dict[str, Any] = {"images a second": rate, "one at a time": single, "ratio": rate / single}
    for task, times in waited.items():
        figures |= {f"{task}: ms at p50": 1e3 * float(np.median(times)), f"{task}: ms at p99": 1e3 * percentile(times)}
    return figures


def percentile(times: list[float]) -> float:
    """What 99 of a hundred do not exceed."""
    return float(np.percentile(times, 99))


def make_tasks(setup: Setup, text: StableDiffusion, pose: StableDiffusion) -> dict[str, tuple[Backbone, Ask]]:
    """The backbone of each task and how it is asked. text, pose: the two backbones."""
    depth, model = make_depth_head(setup, text), make_pose_model(pose, setup)
    schedule = Schedule((SAMPLES,), (1,))
    return {
        "depth": (text, lambda engine, image: predict_depth(engine, image, depth, scene=0)),
        "pose": (pose, lambda engine, image: estimate_poses(engine, model, image)),
        "features": (text, lambda engine, image: pool_features(engine, [image])),
        "zero_shot": (text, lambda engine, image: classify(engine, image, LABELS, schedule=schedule)),
    }


def make_depth_head(setup: Setup, backbone: StableDiffusion) -> DepthHead:
    """VPD's depth with random weights over a backbone's own U-Net, in the published widths at full size."""
    width = 16 if setup.small else 32
    unet: Any = backbone.variants[""].unet
    with torch.device(setup.device):
        network = DepthNetwork(
            list_feature_channels(backbone),
            encoder_channels=4 * width if setup.small else 1536,
            deconv_channels=(width,) * 3,
            deconv_kernels=(2, 2, 2),
            decoder_channels=width,
            scenes=2,
            text_width=unet.config.cross_attention_dim,
        ).eval()
    with torch.no_grad():
        contexts = network.contexts().to(setup.dtype)
    size = 64 if setup.small else 480
    return DepthHead(network, find_feature_layers(backbone.description), contexts, ("a", "b"), size=size)


def _draw(dice: random.Random, tasks: dict[str, tuple[Backbone, Ask]]) -> tuple[str, Image]:
    (task,) = dice.choices(list(tasks), [MIXTURE[name] for name in tasks])
    return task, np.random.default_rng(dice.getrandbits(32)).integers(0, 256, (96, 128, 3), np.uint8)


async def _under_clients(
    worker: DeviceWorker, tasks: dict[str, tuple[Backbone, Ask]], seconds: float
) -> tuple[float, dict[str, list[float]]]:
    ends = time.perf_counter() + seconds
    waited: dict[str, list[float]] = {task: [] for task in tasks}

    async def client(number: int) -> None:
        dice = random.Random(number)
        first = True
        while first or time.perf_counter() < ends:
            task, image = _draw(dice, tasks)
            backbone, ask = tasks[task]
            started, first = time.perf_counter(), False
            with worker.session(task, backbone=backbone) as session:
                await ask(session, image)
            waited[task].append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    done = {task: times for task, times in waited.items() if times}
    return sum(map(len, done.values())) / (time.perf_counter() - started), done


async def _one_at_a_time(tasks: dict[str, tuple[Backbone, Ask]], seconds: float) -> float:
    dice, count, started = random.Random(0), 0, time.perf_counter()
    while not count or time.perf_counter() - started < seconds:
        task, image = _draw(dice, tasks)
        backbone, ask = tasks[task]
        await ask(DirectEngine(backbone), image)
        count += 1
    return count / (time.perf_counter() - started)
