"""One vector an image, in any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.noise_schedule import content_key, draw_noise
from backbones.pixel_diffusion import PixelDiffusion
from backbones.rows import Capture
from heads.feature_pooling.features import make_noised_row, pool_features
from heads.feature_pooling.pooling import pool
from heads.feature_pooling.preprocess import evaluation_crop, pixel_values

Images = list[NDArray[np.uint8]]


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def vectors(engine: DirectEngine, images: Images, **options: Any) -> NDArray[np.float32]:
    return complete(pool_features(engine, images, **options)).vectors


def test_defaults_are_the_middle_and_the_second_decoder_level(engine: DirectEngine, images: Images) -> None:
    features = complete(pool_features(engine, images))
    assert features.blocks == ("mid_block", "up_blocks.1.attentions.1")
    assert features.timesteps == (100,)
    assert features.vectors.shape == (3, 64)
    assert features.vectors.dtype == np.float32


def test_vectors_are_what_the_parts_give_step_by_step(engine: DirectEngine, images: Images) -> None:
    pixels = pixel_values(evaluation_crop(images[0], engine.backbone.image_size))
    latents = complete(engine.encode([pixels]))[0] * engine.backbone.scaling_factor
    context = complete(engine.embed([""]))[0]
    noise = draw_noise(content_key(pixels), 0, latents.shape)
    row = make_noised_row(engine.backbone, latents, noise, 250, context, Capture(features=("mid_block",)))
    feature = complete(engine.unet([row]))[0].features["mid_block"]
    own_vectors = vectors(engine, images[:1], blocks=["mid_block"], timesteps=[250])
    assert_close(own_vectors[0], pool(feature, 1).numpy())


def test_a_vector_does_not_depend_on_batch_mates_or_order(engine: DirectEngine, images: Images) -> None:
    together = vectors(engine, images)
    backwards = vectors(engine, images[::-1])
    alone = np.concatenate([vectors(engine, [image]) for image in images])
    assert_close(backwards[::-1], together)
    assert_close(alone, together)


def test_the_same_image_gets_the_same_vector(engine: DirectEngine, images: Images) -> None:
    own_vectors = vectors(engine, [images[0], images[1], images[0].copy()])
    assert_close(own_vectors[2], own_vectors[0])
    assert np.abs(own_vectors[1] - own_vectors[0]).max() > 1e-3


def test_all_rows_go_out_in_one_call(engine: DirectEngine, images: Images) -> None:
    calls = []

    class Counting(DirectEngine):
        async def unet(self, rows: Any) -> Any:
            calls.append(len(rows))
            return await super().unet(rows)

    vectors(Counting(engine.model), images, timesteps=[50, 100], noise_samples=2)
    assert calls == [12]


def test_noise_samples_are_averaged(engine: DirectEngine, images: Images) -> None:
    two = images[:2]

    def with_offset(offset: int) -> NDArray[np.float32]:
        return vectors(engine, two, noise=lambda content, index, shape: draw_noise(content, index + offset, shape))

    mean = np.mean([with_offset(0), with_offset(1), with_offset(2)], axis=0)
    assert_close(vectors(engine, two, noise_samples=3), mean)
    assert np.abs(with_offset(0) - with_offset(1)).max() > 1e-3


def test_no_noise_samples_leave_the_latents_clean(engine: DirectEngine, images: Images) -> None:
    silent = vectors(engine, images, noise_samples=0, timesteps=[0])
    assert np.isfinite(silent).all()
    assert np.abs(silent - vectors(engine, images, timesteps=[0])).max() > 1e-4


def test_timesteps_follow_each_other_and_do_not_depend_on_each_other(engine: DirectEngine, images: Images) -> None:
    both = vectors(engine, images, timesteps=[300, 50])
    parts = [vectors(engine, images, timesteps=[300]), vectors(engine, images, timesteps=[50])]
    assert_close(both, np.concatenate(parts, axis=1))


def test_blocks_come_in_the_order_of_depth(engine: DirectEngine, images: Images) -> None:
    embeddings = complete(pool_features(engine, images, blocks=["up_blocks.1.attentions.1", "mid_block", 1]))
    assert embeddings.blocks == ("conv_in", "mid_block", "up_blocks.1.attentions.1")
    assert_close(embeddings.vectors[:, 16:], vectors(engine, images))


def test_pooled_grids_are_channel_major(engine: DirectEngine, images: Images) -> None:
    grid = vectors(engine, images, blocks=["conv_in"], pool_size=2)
    mean = vectors(engine, images, blocks=["conv_in"])
    assert_close(grid.reshape(3, -1, 4).mean(axis=2), mean)


def test_normalised_vectors_have_length_one(engine: DirectEngine, images: Images) -> None:
    raw, normalised = vectors(engine, images), vectors(engine, images, normalise=True)
    np.testing.assert_allclose(np.linalg.norm(normalised, axis=1), 1.0, rtol=1e-5)
    assert_close(normalised, raw / np.linalg.norm(raw, axis=1, keepdims=True))


def test_the_fit_decides_what_is_seen(engine: DirectEngine, images: Images) -> None:
    crop, pad, squash = (vectors(engine, images[:1], fit=fit) for fit in ("crop", "pad", "squash"))
    assert min(np.abs(crop - pad).max(), np.abs(crop - squash).max(), np.abs(pad - squash).max()) > 1e-3


def test_pixel_networks_give_vectors_too(pixel_backbone: PixelDiffusion, images: Images) -> None:
    features = complete(pool_features(DirectEngine(pixel_backbone), images, blocks=[24], timesteps=[90], pool_size=2))
    assert features.blocks == ("up_blocks.1.attentions.1",)
    assert features.vectors.shape == (3, 128)
    assert np.isfinite(features.vectors).all()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("blocks", {"blocks": []}),
        ("blocks", {"blocks": ["up_blocks.9.attentions.0"]}),
        ("blocks", {"blocks": [0]}),
        ("blocks", {"blocks": [99]}),
        ("timesteps", {"timesteps": []}),
        ("timesteps", {"timesteps": [-1]}),
        ("timesteps", {"timesteps": [1000]}),
        ("pool_size", {"pool_size": 0}),
        ("pool_size", {"pool_size": 9}),
        ("noise_samples", {"noise_samples": -1}),
        ("fit", {"fit": "stretch"}),
        ("class_labels", {"class_labels": [1]}),
    ],
)
def test_wrong_options_are_refused(engine: DirectEngine, images: Images, field: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        vectors(engine, images, **options)
    assert caught.value.field == field
    assert caught.value.hint


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [np.zeros((8, 8), np.uint8)],
        [np.zeros((8, 8, 3), np.float32)],
        [np.zeros((8, 8, 4), np.uint8)],
        [np.zeros((0, 8, 3), np.uint8)],
    ],
)
def test_arrays_that_are_no_images_are_refused(engine: DirectEngine, bad: Images) -> None:
    with pytest.raises(InvalidInput) as caught:
        vectors(engine, bad)
    assert caught.value.field == "images"


def test_every_vector_is_finite_for_odd_shapes(engine: DirectEngine) -> None:
    odd = [np.full(shape, 7, np.uint8) for shape in ((1, 1, 3), (1, 500, 3), (500, 1, 3), (3, 2, 3))]
    for fit in ("crop", "pad", "squash"):
        assert torch.from_numpy(vectors(engine, odd, fit=fit)).isfinite().all()
