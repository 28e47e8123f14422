"""The cost of four tasks on one image together, as in `/v1/perceive`, compared with the same four one by one.

Depth, segmentation, referring and features run in the batching engine, on new images; both methods take turns. If no
heads are shipped for the backbone, untrained heads of the same size are used: they cost the same. HTTP is not included.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from backbones.engine import Engine
from backbones.stable_diffusion import StableDiffusion
from benchmarks._table import arguments, print_table, write_figures
from service.engine.shared_rows import Procedure, perceive
from service.engine.worker import DeviceWorker
from service.models.loading import OpenHeads, open_model
from service.models.start_up import build_worker
from service.settings.loader import load_settings
from service.tasks import TASKS

CLASSES, WIDTH, EXPRESSION = 18, 64, "a two"


def build_untrained_heads(model: StableDiffusion) -> dict[str, Any]:
    """Heads of the size that `diffsight fit` makes, over the backbone's own U-Net, with fresh weights."""
    import torch

    from heads.images import distinct_colours
    from heads.vpd.checkpoint import list_feature_channels, number_names
    from heads.vpd.depth_network import DepthNetwork
    from heads.vpd.features import find_feature_layers
    from heads.vpd.heads import DepthHead, ReferringHead, SegmentationHead
    from heads.vpd.referring_network import ReferringNetwork
    from heads.vpd.segmentation_network import SegmentationNetwork

    described, layers = model.description, find_feature_layers(model.description)
    unet: Any = model.variants[""].unet
    text_width = unet.config.cross_attention_dim
    fine, middle, coarse, coarsest = list_feature_channels(model)
    contexts = torch.randn(CLASSES, text_width, device=described.device)
    size, tokens = described.image_size, described.max_tokens
    depth = DepthNetwork(
        (fine, middle, coarse, coarsest),
        encoder_channels=4 * WIDTH,
        deconv_channels=(WIDTH,) * 3,
        deconv_kernels=(2, 2, 2),
        decoder_channels=WIDTH,
        scenes=CLASSES,
        text_width=text_width,
    )
    segmentation = SegmentationNetwork(
        (fine, middle + CLASSES, coarse + CLASSES, coarsest),
        neck_channels=WIDTH,
        head_channels=WIDTH,
        classes=CLASSES,
        text_width=text_width,
    )
    referring = ReferringNetwork(
        (fine, middle + tokens, coarse + tokens, coarsest), hidden=WIDTH, text_width=text_width
    )
    for network in (depth, segmentation, referring):
        network.eval().requires_grad_(False).to(described.device)
    palette = distinct_colours(CLASSES)
    names = number_names("class", CLASSES)
    return {
        "depth": DepthHead(depth, layers, contexts, scenes=(), size=size),
        "segmentation": SegmentationHead(segmentation, layers, contexts, names, palette, size=size),
        "referring": ReferringHead(referring, layers, tokens, size=size, squash=False),
    }


def procedures(heads: Mapping[str, Any], image: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Procedure]:
    """The four tasks on one image, (H, W, 3) uint8."""
    from heads.feature_pooling.features import pool_features
    from heads.vpd.depth import predict_depth
    from heads.vpd.referring import predict_referring
    from heads.vpd.segmentation import predict_segmentation

    async def depth(engine: Engine) -> Any:
        return await predict_depth(engine, image, heads["depth"])

    async def segmentation(engine: Engine) -> Any:
        return await predict_segmentation(engine, image, heads["segmentation"])

    async def referring(engine: Engine) -> Any:
        return await predict_referring(engine, image, heads["referring"], [EXPRESSION])

    async def features(engine: Engine) -> Any:
        return await pool_features(engine, [image])

    return {"depth": depth, "segmentation": segmentation, "referring": referring, "features": features}


async def measure(engine: DeviceWorker, heads: Mapping[str, Any], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each round together, and one by one."""
    assert engine.model is not None
    side = engine.model.description.image_size
    random = np.random.default_rng(0)
    together, apart = [], []
    for turn in range(rounds + 1):
        images = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(5)]
        started = time.perf_counter()
        with engine.session("perceive") as request:
            await perceive(request, procedures(heads, images[0]))
        fused = time.perf_counter() - started
        started = time.perf_counter()
        # Each on its own image: a cached latent would make the calls cheaper than they are for a new image.
        for image, name in zip(images[1:], procedures(heads, images[1]), strict=True):
            with engine.session(name) as request:
                await procedures(heads, image)[name](request)
        separate = time.perf_counter() - started
        if turn:  # the first one warms up
            together.append(fused)
            apart.append(separate)
    return together, apart


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backbone", default="pocket")
    chosen = parser.parse_args()
    settings = load_settings(backbone=chosen.backbone)
    model = open_model(settings)
    opened = OpenHeads(settings, model, TASKS)
    dense = [task for task in TASKS if task.name in ("depth", "segmentation", "referring")]
    shipped = {task.name: head for task in dense if (head := opened.find(task)) is not None}
    whole = len(shipped) == len(dense)
    heads = shipped if whole else build_untrained_heads(model)
    engine = build_worker(settings, model)
    engine.start()
    try:
        together, apart = asyncio.run(measure(engine, heads, chosen.rounds))
    finally:
        engine.stop()
    ratio = statistics.median(fused / separate for fused, separate in zip(together, apart, strict=True))
    rows = [
        ["together", f"{1000 * statistics.median(together):.1f}"],
        ["one by one", f"{1000 * statistics.median(apart):.1f}"],
    ]
    print_table(
        f"four tasks on one image, {model.name}", ["way", "ms, median"], rows, [f"together / apart: {ratio:.2f}"]
    )
    write_figures(chosen.json, {"fused_over_separate": ratio}, heads="shipped" if whole else "untrained")


if __name__ == "__main__":
    main()
