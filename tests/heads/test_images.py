"""Images in networks' sizes and back."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from backbones.errors import InvalidInput
from heads.images import (
    check_image,
    pad_to_multiple,
    resample,
    resize,
    resize_maps,
    resize_sharp,
    to_pixel_values,
)


def test_padding_goes_right_and_below_with_zero() -> None:
    padded = pad_to_multiple(torch.ones(3, 5, 8), 8)
    assert padded.shape == (3, 8, 8)
    assert float(padded[:, :5].min()) == 1.0
    assert float(padded[:, 5:].abs().max()) == 0.0
    assert pad_to_multiple(padded, 8).shape == padded.shape


def test_only_one_of_the_two_downscalings_has_antialias() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::4] = 252
    assert resize(stripes, (64, 16)).std() < 6  # with antialias a quarter is white everywhere
    assert resize_sharp(stripes, (64, 16)).max() != resize(stripes, (64, 16)).max()
    assert resize(stripes, (64, 64)) is stripes


def test_maps_keep_their_corners_where_corners_are_aligned() -> None:
    ramp = torch.linspace(0, 1, 4)[None, None].expand(1, 4, 4)
    aligned = resize_maps(ramp, (4, 7), align_corners=True)
    assert torch.allclose(aligned[0, 0], torch.linspace(0, 1, 7))
    assert not torch.allclose(resize_maps(ramp, (4, 7))[0, 0], torch.linspace(0, 1, 7))
    assert resize_maps(ramp[None], (8, 8)).shape == (1, 1, 8, 8)


def test_pixel_values_span_minus_one_to_one() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[0, 0] = 255
    values = to_pixel_values(image)
    assert values.shape == (3, 2, 3)
    assert values[:, 0, 0].tolist() == [1.0, 1.0, 1.0]
    assert values[:, 1, 1].tolist() == [-1.0, -1.0, -1.0]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        check_image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("mode", "size", "digest"),
    [
        # Rows first, columns first, and a height that shrinks too little for rows first; as Pillow 13.0.0 gives them.
        ("RGB", (64, 64), "c2230218"),
        ("RGBA", (64, 64), "4956d394"),
        ("L", (20, 64), "b12437ec"),
        ("RGB", (40, 76), "33fe636b"),
        ("P", (64, 64), "9f4dcdd6"),
    ],
)
def test_pixels_do_not_depend_on_the_version_of_pillow(mode: str, size: tuple[int, int], digest: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (77, 51, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    image = image if mode == "RGBA" else image.convert("L").convert(mode) if mode == "P" else image.convert(mode)
    resampled = resample(image, size, Image.Resampling.BICUBIC)
    assert resampled.mode == mode
    assert resampled.size == size
    assert hashlib.sha256(resampled.tobytes()).hexdigest()[:8] == digest
