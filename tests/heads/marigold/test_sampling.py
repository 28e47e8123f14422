"""Every step and the end against diffusers' own pipelines, on the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from backbones.engine import DirectEngine, complete
from backbones.stable_diffusion import StableDiffusion
from heads.inputs import DecodedImage, Inputs
from heads.marigold.depth import RelativeDepthOptions, combine_depth, run_relative_depth
from heads.marigold.model import MarigoldModel, open_marigold
from heads.marigold.normals import NormalsOptions, combine_normals
from heads.marigold.sampling import predict_members
from tests.heads.marigold.conftest import SavePipeline, picture

STEP_TOLERANCE, END_TOLERANCE = 1e-4, 1e-3


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def pipeline_steps(pipeline: Any, image: Any, **options: Any) -> tuple[Any, list[Tensor]]:
    """The pipeline's output, and the latents after each of its steps: of all members, as they share a batch.

    The last entry is the decoder's output.
    """
    seen: list[Tensor] = []
    step, decode = pipeline.scheduler.step, pipeline.vae.decode

    def record_step(*arguments: Any, **named: Any) -> Any:
        moved = step(*arguments, **named)
        seen.append(moved.prev_sample.clone())
        return moved

    def record_decode(*arguments: Any, **named: Any) -> Any:
        decoded = decode(*arguments, **named)
        seen.append(decoded[0].clone())
        return decoded

    pipeline.scheduler.step, pipeline.vae.decode = record_step, record_decode
    try:
        count = options["ensemble_size"]
        output = pipeline(Image.fromarray(image), batch_size=count, generator=generators(count), **options)
    finally:
        pipeline.scheduler.step, pipeline.vae.decode = step, decode
    return output, seen


def our_steps(
    engine: DirectEngine, model: MarigoldModel, image: Any, steps: int, count: int, resolution: int
) -> tuple[Tensor, list[Tensor]]:
    seen: list[Tensor] = []
    painted = complete(
        predict_members(
            engine,
            model,
            image,
            steps=steps,
            ensemble_size=count,
            resolution=resolution,
            generators=generators(count),
            watch=lambda timestep, latents: seen.append(latents.clone()),
        )
    )
    return painted, seen


def assert_steps(ours: list[Tensor], painted: Tensor, theirs: list[Tensor]) -> Tensor:
    """Compare each step and the decoder's output. Returns the pipeline's decoder output without its padding."""
    *latents, decoded = theirs
    assert len(ours) == len(latents)
    for own, expected in zip(ours, latents, strict=True):
        torch.testing.assert_close(own, expected, atol=STEP_TOLERANCE, rtol=0)
    decoded = decoded[..., : painted.shape[-2], : painted.shape[-1]]
    torch.testing.assert_close(painted, decoded, atol=STEP_TOLERANCE, rtol=0)
    return decoded


@pytest.fixture(scope="module")
def depth(
    backbone: StableDiffusion, save_pipeline: SavePipeline, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, MarigoldModel]:
    folder = tmp_path_factory.mktemp("marigold") / "depth"
    pipeline = save_pipeline(folder, "depth")
    return pipeline, open_marigold("depth", backbone, folder)


@pytest.mark.parametrize(
    ("steps", "count", "resolution", "reduction", "size"),
    [
        (1, 1, 64, "median", (50, 70)),
        (4, 1, 48, "median", (50, 70)),
        (10, 1, 0, "median", (41, 70)),
        (2, 3, 64, "median", (70, 50)),
        (2, 5, 40, "mean", (64, 64)),
        (4, 10, 64, "median", (50, 70)),
    ],
)
def test_depth_is_that_of_the_pipeline(
    engine: DirectEngine,
    depth: tuple[Any, MarigoldModel],
    steps: int,
    count: int,
    resolution: int,
    reduction: Any,
    size: tuple[int, int],
) -> None:
    pipeline, model = depth
    image = picture(steps + count, *size)
    output, theirs = pipeline_steps(
        pipeline,
        image,
        num_inference_steps=steps,
        ensemble_size=count,
        processing_resolution=resolution,
        ensembling_kwargs={"reduction": reduction},
        output_uncertainty=count > 1,
    )
    painted, ours = our_steps(engine, model, image, steps, count, resolution)
    decoded = assert_steps(ours, painted, theirs)
    options = RelativeDepthOptions(ensemble_size=count, reduction=reduction, alignment="published")
    # The pipeline aligns by a gradient that float32's rounding decides: only from its own members, to the last bit, can
    # its map be reproduced. The members are compared above.
    result = combine_depth(decoded, model, options, image.shape[:2])
    np.testing.assert_allclose(result.depth, output.prediction[0, ..., 0], atol=END_TOLERANCE)
    if count > 1:
        assert result.uncertainty is not None
        np.testing.assert_allclose(result.uncertainty, output.uncertainty[0, ..., 0], atol=END_TOLERANCE)


@pytest.mark.parametrize("full_z", [True, False])
@pytest.mark.parametrize(("count", "reduction"), [(1, "closest"), (5, "closest"), (3, "mean")])
def test_normals_are_those_of_the_pipeline(
    engine: DirectEngine,
    backbone: StableDiffusion,
    save_pipeline: SavePipeline,
    tmp_path: Path,
    count: int,
    reduction: Any,
    full_z: bool,
) -> None:
    pipeline = save_pipeline(tmp_path / "normals", "normals", use_full_z_range=full_z)
    model = open_marigold("normals", backbone, tmp_path / "normals")
    image = picture(count)
    output, theirs = pipeline_steps(
        pipeline,
        image,
        num_inference_steps=2,
        ensemble_size=count,
        processing_resolution=64,
        ensembling_kwargs={"reduction": reduction},
        output_uncertainty=count > 1,
    )
    painted, ours = our_steps(engine, model, image, 2, count, 64)
    assert_steps(ours, painted, theirs)
    options = NormalsOptions(ensemble_size=count, reduction=reduction)
    result = combine_normals(painted, model, options, image.shape[:2])
    np.testing.assert_allclose(result.vectors, output.prediction[0], atol=END_TOLERANCE)
    if count > 1:
        assert result.uncertainty is not None
        np.testing.assert_allclose(result.uncertainty, output.uncertainty[0, ..., 0], atol=END_TOLERANCE)


def test_the_schedule_of_lcm_is_that_of_the_pipeline(
    engine: DirectEngine, backbone: StableDiffusion, save_pipeline: SavePipeline, tmp_path: Path
) -> None:
    pipeline = save_pipeline(tmp_path / "lcm", "depth", scheduler="LCMScheduler")
    model = open_marigold("depth", backbone, tmp_path / "lcm")
    output, theirs = pipeline_steps(
        pipeline, picture(1), num_inference_steps=4, ensemble_size=2, processing_resolution=64
    )
    painted, ours = our_steps(engine, model, picture(1), 4, 2, 64)
    decoded = assert_steps(ours, painted, theirs)
    options = RelativeDepthOptions(ensemble_size=2, alignment="published")
    result = combine_depth(decoded, model, options, (50, 70))
    np.testing.assert_allclose(result.depth, output.prediction[0, ..., 0], atol=END_TOLERANCE)


def test_the_same_request_has_the_same_answer(engine: DirectEngine, depth: tuple[Any, MarigoldModel]) -> None:
    _, model = depth
    options = RelativeDepthOptions(steps=1, ensemble_size=2)

    def ask(seed: int, others: RelativeDepthOptions = options) -> Any:
        inputs = Inputs([DecodedImage(picture(seed))])
        return complete(run_relative_depth(engine, model, inputs, others)).depth

    np.testing.assert_array_equal(ask(1), ask(1))
    assert np.abs(ask(1) - ask(1, options.model_copy(update={"seed": 1}))).max() > 1e-3


def test_a_network_that_starts_from_zeros_has_one_answer(
    engine: DirectEngine, backbone: StableDiffusion, save_pipeline: SavePipeline, tmp_path: Path
) -> None:
    pipeline = save_pipeline(tmp_path / "zeros", "depth")
    index = tmp_path / "zeros" / "model_index.json"
    index.write_text(index.read_text().replace("{", '{"noise": "zeros",', 1))
    model = open_marigold("depth", backbone, tmp_path / "zeros")
    painted, _ = our_steps(engine, model, picture(2), 1, 1, 64)
    result = combine_depth(painted, model, RelativeDepthOptions(), (50, 70))
    zeros = torch.zeros(1, backbone.description.latent_channels, 6, 8)
    output = pipeline(Image.fromarray(picture(2)), num_inference_steps=1, processing_resolution=64, latents=zeros)
    np.testing.assert_allclose(result.depth, output.prediction[0, ..., 0], atol=END_TOLERANCE)
