"""Vectors of many images: in order, once each; an error names the image that cannot be decoded."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.source import open_backbone
from service.engine.caches import TensorCache
from service.inputs.decoding import open_decoder
from service.library.vectors import Vectors, vectors_of_files
from service.settings.groups import LimitSettings
from tests.service.library.test_classifiers import FEATURES


@pytest.fixture(scope="module")
def engine() -> DirectEngine:
    return DirectEngine(open_backbone("pocket"))


def picture(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 20, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def read(engine: DirectEngine, cache: TensorCache, files: list[bytes]) -> Vectors:
    names = [f"images.{place}" for place in range(len(files))]
    return complete(vectors_of_files(engine, cache, files, names, FEATURES, open_decoder(LimitSettings())))


def test_vectors_are_in_the_files_order_whatever_the_cache_holds(engine: DirectEngine) -> None:
    cache = TensorCache(1 << 20)
    files = [picture(seed) for seed in (0, 1, 0, 2)]
    first = read(engine, cache, files)
    again = read(engine, cache, files[::-1])
    np.testing.assert_array_equal(first.vectors, again.vectors[::-1])
    np.testing.assert_array_equal(first.keys, again.keys[::-1])
    np.testing.assert_array_equal(first.vectors[0], first.vectors[2])
    assert cache.figures().entries == 3


def test_a_file_that_cannot_be_decoded_is_named_by_its_name(engine: DirectEngine) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(engine, TensorCache(0), [picture(0), b"no image"])
    assert caught.value.field == "images.1"
