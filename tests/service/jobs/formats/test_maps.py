"""Maps as files of a folder."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np

from heads.marigold.outputs import normals_picture
from heads.outputs import depth_png
from heads.results import DepthMap
from service.jobs.formats.maps import npy, png
from service.jobs.records import Job, Record


def test_a_map_goes_below_its_own_folder_and_results_without_one_are_left_out() -> None:
    job = Job("1", "depth", {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True, total=2, done=2)
    maps = [base64.b64encode(b"first").decode(), None, base64.b64encode(b"third").decode()]
    names = ["a/one.png", "two.png", "../C:/three.jpg"]
    records = [
        Record(place, name, {}, "k", {"png16": file} if file else {}, "")
        for place, (name, file) in enumerate(zip(names, maps, strict=True))
    ]
    assert list(png(job, lambda: records)) == [("a/one.png.png", b"first"), ("C_/three.jpg.png", b"third")]


def test_arrays_are_what_the_pictures_hold() -> None:
    job = Job("1", "depth", {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True, total=2, done=2)
    metres = np.linspace(0.5, 7.3, 12, dtype=np.float32).reshape(3, 4)
    vectors = np.zeros((3, 4, 3), np.float32)
    vectors[..., 0], vectors[..., 2] = 0.6, 0.8
    files = [("png16", depth_png(DepthMap(metres, 10.0))), ("png", normals_picture(vectors))]
    records = [
        Record(place, f"{place}.jpg", {}, "k", {key: base64.b64encode(file).decode()}, "")
        for place, (key, file) in enumerate(files)
    ]
    paths, arrays = zip(*((path, np.load(BytesIO(data))) for path, data in npy(job, lambda: records)), strict=True)
    assert paths == ("0.jpg.npy", "1.jpg.npy")
    assert all(array.dtype == np.float32 for array in arrays)
    np.testing.assert_allclose(arrays[0], metres, atol=5.1e-4)
    np.testing.assert_allclose(arrays[1], vectors, atol=0.005)
    np.testing.assert_allclose(np.linalg.norm(arrays[1], axis=2), 1, atol=1e-6)
