"""The route of a task on a real server, by depth, segmentation and referring with small random heads."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from heads.outputs import Rle, decode_rle
from tests.conftest import WITHOUT_HEADS, Server, StartServer

FOUR = {"tasks": ["depth", "segmentation", "referring", "features"], "expressions": ["a two"]}


def post(server: Server, path: str, png: bytes, data: dict[str, Any] | None = None, **headers: str) -> Any:
    return server.client.post(path, files={"image": png}, data=data or {}, headers=headers)


def open_image(content: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(content)))


def test_depth_in_every_form(dense_server: Server, png: bytes) -> None:
    answer = post(dense_server, "/v1/depth", png).json()
    units = open_image(base64.b64decode(answer["png16"]))
    assert units.shape == (30, 40)
    assert answer["statistics"]["minimum"] == pytest.approx(units.min() * answer["metres_per_unit"], abs=0.001)
    assert 0 < answer["statistics"]["minimum"] <= answer["statistics"]["maximum"] <= answer["max_metres"] == 8.0
    npy = post(dense_server, "/v1/depth", png, accept="application/x-npy")
    assert np.abs(np.load(BytesIO(npy.content)) - units / 1000).max() < 0.001
    file = post(dense_server, "/v1/depth", png, {"format": "png16"})
    assert (open_image(file.content) == units).all()
    assert file.headers["x-depth-metres-per-unit"] == "0.001"
    for form in ("colour", "overlay"):
        assert open_image(post(dense_server, "/v1/depth", png, {"format": form}).content).shape == (30, 40, 3)


def test_the_published_protocol_differs_from_one_pass(dense_server: Server, png: bytes) -> None:
    fast = post(dense_server, "/v1/depth", png).json()
    slow = post(dense_server, "/v1/depth", png, {"protocol": "published"}).json()
    assert slow["rows"] == 4
    assert fast["rows"] == 1
    assert slow["statistics"] != fast["statistics"]


def test_segmentation_in_every_form(dense_server: Server, png: bytes) -> None:
    answer = post(dense_server, "/v1/segmentation", png).json()
    indices = open_image(post(dense_server, "/v1/segmentation", png, {"format": "png"}).content)
    assert indices.shape == (30, 40)
    assert sum(segment["area"] for segment in answer["segments"]) == 1200
    for shown in answer["segments"]:
        assert (decode_rle(Rle(**shown["rle"])) == (indices == answer["classes"].index(shown["name"]))).all()
    array = np.load(BytesIO(post(dense_server, "/v1/segmentation", png, accept="application/x-npy").content))
    assert (array == indices).all()
    outlines = post(dense_server, "/v1/segmentation", png, {"format": "polygons"}).json()["segments"]
    assert all(outline["polygons"] and outline["rle"] is None for outline in outlines)
    assert open_image(post(dense_server, "/v1/segmentation", png, accept="image/png").content).shape == (30, 40)
    assert open_image(post(dense_server, "/v1/segmentation", png, {"format": "overlay"}).content).shape == (30, 40, 3)


def test_referring_in_every_form(dense_server: Server, png: bytes) -> None:
    path, options = "/v1/segmentation/referring", {"expressions": ["a two", "the digit three"]}
    answer = post(dense_server, path, png, options).json()
    assert [mask["name"] for mask in answer["masks"]] == options["expressions"]
    assert answer["rows"] == 2
    array = np.load(BytesIO(post(dense_server, path, png, {**options, "format": "npy"}).content))
    for item, mask in zip(answer["masks"], array, strict=True):
        assert (decode_rle(Rle(**item["rle"])) == mask).all()
    alone = post(dense_server, path, png, {"expression": "a two", "format": "png"})
    assert ((open_image(alone.content) > 0) == array[0]).mean() > 0.99
    assert open_image(post(dense_server, path, png, {**options, "format": "overlay"}).content).shape == (30, 40, 3)


def test_two_hundred_words_are_cut_and_it_is_reported(dense_server: Server, png: bytes) -> None:
    (item,) = post(dense_server, "/v1/segmentation/referring", png, {"expression": "the two " * 100}).json()["masks"]
    assert item["cut"]
    assert 0 < len(item["read"].split()) < 200


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/v1/depth", {"scene": "kitchen"}),
        ("/v1/depth", {"format": "tiff"}),
        ("/v1/depth", {"windows": 0}),
        ("/v1/segmentation", {"protocol": "guess"}),
        ("/v1/segmentation/referring", {}),
        ("/v1/segmentation/referring", {"expression": " "}),
        ("/v1/segmentation/referring", {"expression": "a", "expressions": ["b"]}),
        ("/v1/segmentation/referring", {"expressions": ["a", "b"], "format": "png"}),
        ("/v1/perceive", {"tasks": ["depth", "depth"]}),
        ("/v1/perceive", {"tasks": ["referring"]}),
        ("/v1/perceive", {"tasks": ["depth"], "expressions": ["a"]}),
        ("/v1/perceive", {"tasks": ["zero_shot"]}),
        ("/v1/perceive", {}),
    ],
)
def test_an_invalid_request_is_refused(
    dense_server: Server, png: bytes, check_problem: Any, path: str, data: dict[str, Any]
) -> None:
    check_problem(post(dense_server, path, png, data), 422, "invalid-input")


@pytest.mark.parametrize("name", ["one_pixel.png", "grey.png", "grey16.png", "bilevel.png", "turned.jpg"])
def test_odd_images_are_answered_in_their_own_size(
    dense_server: Server, odd_images: dict[str, bytes], name: str
) -> None:
    answer = post(dense_server, "/v1/perceive", odd_images[name], FOUR).json()
    shape = open_image(base64.b64decode(answer["depth"]["png16"])).shape
    assert shape == (answer["image"]["height"], answer["image"]["width"])
    assert answer["referring"]["masks"][0]["rle"]["size"] == list(shape)
    assert sum(segment["area"] for segment in answer["segmentation"]["segments"]) == shape[0] * shape[1]


def test_a_panorama_is_answered_in_its_own_size(dense_server: Server) -> None:
    file = BytesIO()
    Image.new("RGB", (400, 20), "blue").save(file, "PNG")
    units = open_image(base64.b64decode(post(dense_server, "/v1/depth", file.getvalue()).json()["png16"]))
    assert units.shape == (20, 400)


def test_without_a_head_the_answer_names_the_setting(
    heads_folder: Path, start_server: StartServer, png: bytes, check_problem: Any
) -> None:
    running = start_server(heads={"depth": str(heads_folder / "depth.safetensors")})
    assert running.state.models.failure is None
    bare = start_server(backbone=str(WITHOUT_HEADS))
    problem = check_problem(post(bare, "/v1/segmentation/referring", png, {"expression": "a"}), 404, "model-not-found")
    assert "DIFFSIGHT_HEADS__REFERRING" in problem["hint"]
    assert post(running, "/v1/depth", png).status_code == 200


def test_a_head_that_is_not_there_fails_the_start(start_server: StartServer, tmp_path: Path) -> None:
    running = start_server(heads={"depth": str(tmp_path / "nothing.safetensors")})
    assert "diffsight fit depth" in str(running.state.models.failure)
