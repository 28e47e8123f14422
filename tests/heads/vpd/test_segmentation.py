"""Classes on the embedded backbone: any image, every protocol, in the original's pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from heads.images import to_pixel_values
from heads.vpd.heads import Head, SegmentationHead
from heads.vpd.segmentation import add_probabilities, logits_of_pixels, predict_segmentation, slide_probabilities

Image = NDArray[np.uint8]
ODD = [(1, 1), (3, 60), (90, 120), (40, 7)]


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.fixture
def segmentation(heads: dict[str, Head]) -> SegmentationHead:
    head = heads["segmentation"]
    assert isinstance(head, SegmentationHead)
    return head


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("protocol", ["fast", "slide"])
def test_every_size_gets_a_class_for_every_pixel(
    engine: DirectEngine, segmentation: SegmentationHead, size: Any, protocol: Any
) -> None:
    result = complete(predict_segmentation(engine, black(*size), segmentation, protocol=protocol))
    assert result.class_map.shape == result.probabilities.shape == size
    assert int(result.class_map.max()) < len(result.classes) == len(result.palette)
    assert (result.probabilities >= 1 / len(result.classes) - 1e-5).all()


def test_several_scales_and_mirrors_are_averaged(
    engine: DirectEngine, segmentation: SegmentationHead, photo: Image
) -> None:
    result = complete(predict_segmentation(engine, photo, segmentation, protocol="multiscale"))
    mirror = complete(predict_segmentation(engine, photo[:, ::-1].copy(), segmentation, protocol="multiscale"))
    assert np.allclose(result.probabilities, mirror.probabilities[:, ::-1], atol=2e-3)


@pytest.mark.parametrize("size", [(64, 150), (100, 100), (64, 64)])
def test_windows_at_once_are_mmsegmentations_own_loop(
    engine: DirectEngine, segmentation: SegmentationHead, photo: Image, size: tuple[int, int]
) -> None:
    from mmseg.models.segmentors.encoder_decoder import EncoderDecoder

    image = np.resize(photo, (*size, 3)).astype(np.uint8)
    pixels = to_pixel_values(image)

    def encode_decode(crop: torch.Tensor, _: object) -> torch.Tensor:
        return torch.stack(complete(logits_of_pixels(engine, list(crop), segmentation)))

    crop = segmentation.size
    itself = SimpleNamespace(
        test_cfg=SimpleNamespace(stride=(crop * 2 // 3,) * 2, crop_size=(crop, crop)),
        out_channels=len(segmentation.classes),
        encode_decode=encode_decode,
    )
    expected = EncoderDecoder.slide_inference(itself, pixels[None], [{}])[0].softmax(dim=0)
    probabilities = complete(slide_probabilities(engine, pixels, segmentation, size))
    assert torch.allclose(probabilities, expected, atol=1e-5)


def test_probabilities_are_added_up_strip_by_strip() -> None:
    torch.manual_seed(0)
    logits, size = torch.randn(5, 20, 30), (47, 66)
    whole, cut = (
        add_probabilities(add_probabilities(None, logits, False, size, most), logits, True, size, most)
        for most in (10**9, 5 * size[1] * 7)
    )
    assert torch.allclose(whole.sum(dim=0), torch.full(size, 2.0), atol=1e-5)
    assert torch.allclose(whole, cut, atol=1e-5)
