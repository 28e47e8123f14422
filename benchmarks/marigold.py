"""The cost of an ensemble of Marigold's predictions as rows, compared with the pipeline of diffusers for each image.

The networks have `pocket`'s size and the same random weights on both sides; images are 128 x 128. In the batching
engine, the images are requests that arrive together. The pipeline runs with its default, a member at a time, and with
all members of an image in one batch; the figures compare with the faster one. Depth is aligned before it is combined,
on each side by its own default. Normals are not aligned, so their figure compares only the networks. All methods take
turns.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.stable_diffusion import StableDiffusion
from benchmarks._table import arguments, print_table, write_figures
from heads.inputs import DecodedImage, Inputs
from service.engine.worker import DeviceWorker
from service.models.loading import open_model
from service.models.start_up import build_worker
from service.settings.loader import load_settings

MEMBERS, STEPS = 10, 4
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}

Image = NDArray[np.uint8]
Way = Callable[[list[Image]], None]


def build_pipeline(backbone: StableDiffusion, prediction: str) -> Any:
    """A pipeline over the backbone's parts with a random U-Net of its size."""
    import torch

    stock: Any = import_module("diffusers")
    torch.manual_seed(0)
    own: Any = backbone.variants[""].unet
    unet = stock.UNet2DConditionModel(**{**own.config, "in_channels": 2 * own.config.in_channels})
    kind = stock.MarigoldDepthPipeline if prediction == "depth" else stock.MarigoldNormalsPipeline
    pipeline = kind(
        unet=unet.eval().to(own.device, own.dtype),
        vae=deepcopy(backbone.vae),
        scheduler=stock.DDIMScheduler(**SCHEDULE),
        text_encoder=backbone.text_encoder,
        tokenizer=backbone.tokenizer,
        prediction_type=prediction,
        default_denoising_steps=STEPS,
        default_processing_resolution=backbone.description.image_size,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_pipeline(pipeline: Any, batch_size: int) -> Way:
    """A method: the pipeline, one image at a time."""
    from PIL import Image as Pillow

    def run(images: list[Image]) -> None:
        for image in images:
            pipeline(Pillow.fromarray(image), ensemble_size=MEMBERS, batch_size=batch_size)

    return run


def run_rows(worker: DeviceWorker, task: Any, model: Any) -> Way:
    """A method: the task in the engine, all images together."""
    options = task.complete(task.options(ensemble_size=MEMBERS), model, None, None)

    async def ask(image: Image) -> None:
        with worker.session(task.name) as session:
            await task.run(session, model, Inputs([DecodedImage(image)]), options, None)

    async def ask_all(images: list[Image]) -> None:
        requests: list[Awaitable[None]] = [ask(image) for image in images]
        await asyncio.gather(*requests)

    return lambda images: asyncio.run(ask_all(images))


def measure(ways: dict[str, Way], rounds: int, images: int, side: int) -> dict[str, list[float]]:
    """Images a second of each method in each round; the first round warms up and does not count."""
    random = np.random.default_rng(0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        pictures = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(images if turn else 1)]
        for name, run in ways.items():
            started = time.perf_counter()
            run(pictures)
            if turn:
                rates[name].append(images / (time.perf_counter() - started))
    return rates


def ways_of(prediction: str, backbone: StableDiffusion, worker: DeviceWorker, folder: Path) -> dict[str, Way]:
    """All methods to compute predictions with the same weights."""
    from heads.marigold import depth, normals

    task: Any = depth.TASK if prediction == "depth" else normals.TASK
    pipeline = build_pipeline(backbone, prediction)
    pipeline.save_pretrained(folder / prediction)
    model = task.open(backbone, folder / prediction)
    return {
        f"{prediction}: pipeline, a member at a time": run_pipeline(pipeline, 1),
        f"{prediction}: pipeline, {MEMBERS} members at a time": run_pipeline(pipeline, MEMBERS),
        f"{prediction}: rows": run_rows(worker, task, model),
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=2)
    chosen = parser.parse_args()
    settings = load_settings(backbone="pocket")
    backbone = open_model(settings)
    worker = build_worker(settings, backbone)
    worker.start()
    rows: list[list[str]] = []
    figures: dict[str, float] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for prediction, figure in (("depth", "ensemble_over_pipeline"), ("normals", "normals_over_pipeline")):
                ways = ways_of(prediction, backbone, worker, Path(folder))
                rates = measure(ways, chosen.rounds, chosen.images, backbone.description.image_size)
                single, batched, ours = rates.values()
                rows += [[name, f"{statistics.median(speeds):.3f}"] for name, speeds in rates.items()]
                better = [max(pair) for pair in zip(single, batched, strict=True)]
                ratios = [rate / other for rate, other in zip(ours, better, strict=True)]
                figures[figure] = statistics.median(ratios)
                rows.append([f"{prediction}: rows over the better pipeline", f"{figures[figure]:.2f}"])
    finally:
        worker.stop()
    title = f"{MEMBERS} members, {STEPS} steps, {chosen.images} images, networks of pocket's size"
    print_table(title, ["way", "images/s, median"], rows)
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
