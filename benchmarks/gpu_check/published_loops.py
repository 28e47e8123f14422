"""SDPose and DiffewS as they are served, beside loops like those of their authors: one image after the other.

Their loops know no batch over images and keep nothing: each person is encoded, passed through the U-Net and decoded by
itself, and each query computes its support anew. Both sides run the same networks and number type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from backbones.engine import DirectEngine, complete
from backbones.rows import Bank
from benchmarks._full_networks import build_backbone
from benchmarks.gpu_check.setup import Setup
from heads.diffews.bank import VARIANT, support_banks
from heads.diffews.checkpoint import fresh_variant
from heads.diffews.segment import segment, segment_concepts
from heads.diffews.threshold import PUBLISHED
from heads.sdpose.estimation import PoseModel, estimate_poses
from heads.sdpose.head import HeatmapHead
from heads.sdpose.skeletons import COCO_17

PERSONS = 8


def measure(setup: Setup) -> dict[str, Any]:
    """Persons and queries a second, ours and in a loop, and their ratios."""
    backbone = build_backbone("sd21", setup.dtype, setup.device, setup.sizes)
    backbone.add_variant(VARIANT, fresh_variant(backbone))
    batched, single = DirectEngine(backbone), DirectEngine(backbone, max_rows=1)
    figures: dict[str, Any] = {}
    for name, (ours, loop) in {"pose, persons": _pose(setup, backbone, batched, single),
                               "few-shot, queries": _few_shot(setup, batched, single)}.items():  # fmt: skip
        figures |= {f"{name} a second: ours": ours, f"{name} a second: loop": loop, f"{name}: ratio": ours / loop}
    return figures


def make_pose_model(backbone: Any, setup: Setup) -> PoseModel:
    """A pose network of 17 points with random weights over a backbone's own U-Net."""
    unet: Any = backbone.variants[""].unet
    with torch.device(setup.device):
        head = HeatmapHead(unet.config.block_out_channels[0], 17).initialise()
    size = (96, 128) if setup.small else (768, 1024)
    return PoseModel("random", head.to(setup.dtype).eval(), COCO_17, size, "", 999, ("up_blocks.3",), 1.0, "0")


def _pose(setup: Setup, backbone: Any, batched: DirectEngine, single: DirectEngine) -> tuple[float, float]:
    model = make_pose_model(backbone, setup)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    count = 2 if setup.small else PERSONS
    boxes = np.array([[40.0 * place, 20.0, 200.0, 400.0] for place in range(count)])

    def loop() -> None:
        for box in boxes:
            complete(estimate_poses(single, model, image, box[None]))

    ours = setup.rate(lambda: complete(estimate_poses(batched, model, image, boxes)), count)
    return ours, setup.rate(loop, count)


def _few_shot(setup: Setup, batched: DirectEngine, single: DirectEngine) -> tuple[float, float]:
    size = 64 if setup.small else 512
    draw = np.random.default_rng(0)
    support, *queries = (draw.integers(0, 256, (size, size, 3), np.uint8) for _ in range(3 if setup.small else 9))
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : size // 2, size // 4 : size // 2] = 1
    kept: list[Bank] = complete(support_banks(batched, [support], [mask], size=size))

    def ours() -> None:
        for query in queries:
            complete(segment_concepts(batched, query, kept, thresholds=[PUBLISHED], size=size))

    def loop() -> None:
        for query in queries:
            complete(segment(single, query, [support], [mask], size=size))

    return setup.rate(ours, len(queries)), setup.rate(loop, len(queries))
