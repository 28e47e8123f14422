"""Answers as arrays, against the server's own files of the same."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

from diffsight_client import BadInput, Client
from diffsight_client.arrays import array_of_npy, array_of_png, mask_of_rle
from heads.outputs import encode_rle
from tests.conftest import Server

TEXTS = ["a two", "the digit three"]


def test_depth_is_what_the_server_writes_as_npy(server: Server, png: bytes) -> None:
    with Client(server.url) as client:
        metres = client.depth(png).to_numpy()
        written = array_of_npy(client.depth_file(png, format="npy"))
        units = array_of_png(client.depth_file(png, format="png16"))
        with pytest.raises(BadInput, match="maps=True"):
            client.depth(png, maps=False).to_numpy()
    assert metres.shape == (30, 40)
    assert metres.dtype == np.float32
    assert np.abs(metres - written).max() <= 0.0006
    assert units.dtype == np.uint16
    assert np.abs(units / 1000 - metres).max() < 1e-6


def test_masks_and_class_map_are_what_the_server_writes_as_npy(server: Server, png: bytes) -> None:
    with Client(server.url) as client:
        answer = client.segmentation(png)
        classes = array_of_npy(client.segmentation_file(png, format="npy"))
        masks = client.referring(png, expressions=TEXTS)
        written = array_of_npy(client.referring_file(png, expressions=TEXTS, format="npy"))
        outlines = client.segmentation_polygons(png)
    assert (answer.class_map() == classes).all()
    assert answer.to_numpy().sum() == 30 * 40
    assert (masks.to_numpy() == (written > 0)).all()
    with pytest.raises(BadInput, match="outlines"):
        outlines.segments[0].to_numpy()


def test_few_shot_masks_and_vectors(server: Server, png: bytes) -> None:
    support = np.zeros((30, 40), bool)
    support[5:25, 12:20] = True
    with Client(server.url) as client:
        answer = client.few_shot_segmentation(png, support_images=[png], support_masks=[support])
        vectors = client.features([png, png]).to_numpy()
        written = array_of_npy(client.features_file([png, png], format="npy"))
    assert answer.to_numpy().shape == (1, 30, 40)
    assert vectors.shape == written.shape
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, written, atol=1e-5)


def test_masks_as_detections(server: Server, png: bytes) -> None:
    supervision = pytest.importorskip("supervision")
    with Client(server.url) as client:
        answer = client.segmentation(png)
    detections = answer.to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert list(detections.data["class_name"]) == [segment.name for segment in answer.segments if segment.bbox[2]]
    for box, mask in zip(detections.xyxy, detections.mask, strict=True):
        rows, columns = np.nonzero(mask)
        assert list(box) == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_read_as_pycocotools_writes_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((37, 53)) > (0.02, 0.5, 0.98, 1.0)[seed]
    rle = encode_rle(mask)
    assert (mask_of_rle(SimpleNamespace(size=list(mask.shape), counts=rle.counts)) == mask).all()


def test_damaged_bytes_are_refused() -> None:
    with pytest.raises(BadInput, match="fill"):
        mask_of_rle(SimpleNamespace(size=[4, 4], counts="9"))
    with pytest.raises(BadInput, match="npy"):
        array_of_npy(b"no array")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="npy"):
        array_of_npy(pickled.getvalue())
