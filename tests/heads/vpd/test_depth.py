"""Depth on the embedded backbone: any image, both protocols, metres in the original's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.vpd.depth import choose_context, predict_depth
from heads.vpd.heads import DepthHead, Head

Image = NDArray[np.uint8]
ODD = [(1, 1), (3, 60), (90, 120), (40, 7)]


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.fixture
def depth(heads: dict[str, Head]) -> DepthHead:
    head = heads["depth"]
    assert isinstance(head, DepthHead)
    return head


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("protocol", ["fast", "published"])
def test_every_size_gets_a_depth_for_every_pixel(
    engine: DirectEngine, depth: DepthHead, size: Any, protocol: Any
) -> None:
    if protocol == "published" and size == (3, 60):
        size = (12, 60)
    depth_map = complete(predict_depth(engine, black(*size), depth, protocol=protocol))
    assert depth_map.metres.shape == size
    assert ((depth_map.metres > 0) & (depth_map.metres < depth.max_metres)).all()
    assert (depth_map.scene, depth_map.scene_given) == ("mean", False)


def test_the_scene_changes_depth_and_is_reported(engine: DirectEngine, depth: DepthHead, photo: Image) -> None:
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
