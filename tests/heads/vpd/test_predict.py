"""The three heads on the embedded backbone: any image, every protocol, answers in the original's pixels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.images import pad_to_multiple, to_pixel_values
from heads.vpd.depth import choose_context, predict_depth
from heads.vpd.features import find_taps
from heads.vpd.heads import DepthHead, Head, ReferringHead, SegmentationHead
from heads.vpd.preprocess import ade_size, shorter_side
from heads.vpd.referring import predict_referring, read_expression
from heads.vpd.segmentation import logits_of_pixels, predict_segmentation, slide_probabilities
from heads.vpd.windows import even_starts, flipped, grid_starts

Image = NDArray[np.uint8]
ODD = [(1, 1), (3, 60), (90, 120), (40, 7)]


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.fixture
def depth(heads: dict[str, Head]) -> DepthHead:
    head = heads["depth"]
    assert isinstance(head, DepthHead)
    return head


@pytest.fixture
def segmentation(heads: dict[str, Head]) -> SegmentationHead:
    head = heads["segmentation"]
    assert isinstance(head, SegmentationHead)
    return head


@pytest.fixture
def referring(heads: dict[str, Head]) -> ReferringHead:
    head = heads["referring"]
    assert isinstance(head, ReferringHead)
    return head


def test_taps_are_the_published_places(engine: DirectEngine) -> None:
    taps = find_taps(engine.backbone)
    levels = [name.split(".")[1] for name in taps.features]
    assert levels == ["3", "2", "1", "0"]
    for level, names in enumerate(taps.maps, start=1):
        assert {name.rpartition(".attentions.")[0] for name in names} == {
            f"down_blocks.{level}",
            f"up_blocks.{3 - level}",
        }
    assert taps.capture(maps=False).attention_maps == ()


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("protocol", ["fast", "published"])
def test_every_size_gets_a_depth_for_every_pixel(
    engine: DirectEngine, depth: DepthHead, size: Any, protocol: Any
) -> None:
    if protocol == "published" and size == (3, 60):
        size = (12, 60)
    found = complete(predict_depth(engine, black(*size), depth, protocol=protocol))
    assert found.metres.shape == size
    assert ((found.metres > 0) & (found.metres < depth.max_metres)).all()
    assert (found.scene, found.scene_given) == ("mean", False)


def test_the_scene_changes_depth_and_is_told(engine: DirectEngine, depth: DepthHead, photo: Image) -> None:
    first = complete(predict_depth(engine, photo, depth, scene=0))
    second = complete(predict_depth(engine, photo, depth, scene="3"))
    assert (first.scene, second.scene) == (depth.scenes[0], depth.scenes[3])
    assert second.scene_given
    assert not np.allclose(first.metres, second.metres)
    mean, _ = choose_context(depth, None)
    assert torch.allclose(mean[0], depth.contexts.mean(dim=0))


@pytest.mark.parametrize("scene", ["moon", "99", "-1", "", 5])
def test_an_unknown_scene_is_refused(engine: DirectEngine, depth: DepthHead, photo: Image, scene: Any) -> None:
    with pytest.raises(InvalidInput, match="scene"):
        complete(predict_depth(engine, photo, depth, scene=scene))


def test_flipping_makes_depth_of_mirror_images_mirrored(engine: DirectEngine, depth: DepthHead, photo: Image) -> None:
    square = photo[:64, 20:84]
    plain = complete(predict_depth(engine, square, depth, protocol="published", windows=1))
    mirror = complete(predict_depth(engine, square[:, ::-1].copy(), depth, protocol="published", windows=1))
    assert np.allclose(plain.metres, mirror.metres[:, ::-1], atol=1e-4)
    once = complete(predict_depth(engine, square, depth, protocol="published", windows=1, flip=False))
    assert not np.allclose(once.metres, plain.metres, atol=1e-4)


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("protocol", ["fast", "slide"])
def test_every_size_gets_a_class_for_every_pixel(
    engine: DirectEngine, segmentation: SegmentationHead, size: Any, protocol: Any
) -> None:
    found = complete(predict_segmentation(engine, black(*size), segmentation, protocol=protocol))
    assert found.class_map.shape == found.probabilities.shape == size
    assert int(found.class_map.max()) < len(found.classes) == len(found.palette)
    assert (found.probabilities >= 1 / len(found.classes) - 1e-5).all()


def test_several_scales_and_mirrors_are_averaged(
    engine: DirectEngine, segmentation: SegmentationHead, photo: Image
) -> None:
    found = complete(predict_segmentation(engine, photo, segmentation, protocol="multiscale"))
    mirror = complete(predict_segmentation(engine, photo[:, ::-1].copy(), segmentation, protocol="multiscale"))
    assert np.allclose(found.probabilities, mirror.probabilities[:, ::-1], atol=2e-3)


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
    found = complete(slide_probabilities(engine, pixels, segmentation, size))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", ODD)
def test_every_size_gets_a_mask_for_each_expression(engine: DirectEngine, referring: ReferringHead, size: Any) -> None:
    masks, read = complete(predict_referring(engine, black(*size), referring, ["a two", "a three"]))
    assert masks.masks.shape == (2, *size)
    assert masks.names == ("a two", "a three")
    assert all(0 <= score <= 1 for score in masks.scores)
    assert not any(one.cut for one in read)


def test_expressions_of_one_image_do_not_depend_on_each_other(
    engine: DirectEngine, referring: ReferringHead, photo: Image
) -> None:
    both, _ = complete(predict_referring(engine, photo, referring, ["a two", "the digit three"]))
    alone, _ = complete(predict_referring(engine, photo, referring, ["the digit three"]))
    assert (both.masks[1] == alone.masks[0]).mean() > 0.999


def test_a_long_expression_is_cut_at_a_word(engine: DirectEngine, referring: ReferringHead) -> None:
    text = "the two " * 100
    read = read_expression(engine, text, referring.tokens)
    assert read.cut
    assert text.startswith(read.read)
    assert len(engine.tokenize([read.read])[0]) <= referring.tokens
    longer = f"{read.read} {text.split()[len(read.read.split())]}"
    assert len(engine.tokenize([longer])[0]) > referring.tokens


@pytest.mark.parametrize("text", ["", "  \n", "x" * 4000])
def test_an_expression_that_says_nothing_is_refused(engine: DirectEngine, referring: ReferringHead, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"expression|word"):
        read_expression(engine, text, referring.tokens)


def test_no_expression_is_refused(engine: DirectEngine, referring: ReferringHead, photo: Image) -> None:
    with pytest.raises(InvalidInput):
        complete(predict_referring(engine, photo, referring, []))


def test_windows_cover_everything() -> None:
    assert even_starts(640, 480, 2) == [0, 160]
    assert even_starts(641, 480, 3) == [0, 80, 161]
    assert even_starts(2000, 480, 2)[-1] == 1520
    assert even_starts(100, 480, 2) == [0]
    assert grid_starts(400, 256, 170) == [0, 144]
    assert grid_starts(100, 256, 170) == [0]
    for length in range(1, 700, 7):
        starts = even_starts(length, 100, 2)
        covered = {x for start in starts for x in range(start, start + 100)}
        assert covered >= set(range(length))


def test_sizes_are_the_published_ones() -> None:
    assert ade_size((480, 640), 512) == (512, 683)
    assert ade_size((100, 2000), 512) == (102, 2048)
    assert ade_size((480, 640), 512, 1.25) == (640, 853)
    assert shorter_side((480, 640), 480) == (480, 640)
    assert shorter_side((100, 2000), 480) == (48, 960)
    assert shorter_side((1, 1), 64) == (64, 64)


def test_padding_changes_nothing_where_nothing_is_padded() -> None:
    pixels = torch.rand(3, 64, 128)
    assert torch.equal(pad_to_multiple(pixels, 64), pixels)
    assert torch.equal(flipped(flipped(pixels)), pixels)
