"""POST /v1/features on the real server."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.conftest import Server

ROUTE = "/v1/features"
PICTURE = {"Content-Type": "image/png"}


def test_vectors_come_one_an_image_in_order(server: Server, png: bytes, odd_images: dict[str, bytes]) -> None:
    files = [("image", png), ("image", odd_images["grey.png"]), ("image", png)]
    answer = server.client.post(ROUTE, files=files, data={"pool_size": 2}).json()
    vectors = np.array(answer["vectors"])
    assert vectors.shape == (3, answer["dimension"])
    np.testing.assert_allclose(vectors[0], vectors[2], rtol=1e-4, atol=1e-4)
    assert not np.allclose(vectors[0], vectors[1])
    assert (answer["timesteps"], answer["pool_size"], answer["rows"]) == ([100], 2, 3)
    assert answer["order"].startswith("One vector an image")
    assert [image["width"] for image in answer["images"]] == [40, 40, 40]


def test_the_three_forms_get_the_same_vectors(server: Server, png: bytes) -> None:
    text = base64.b64encode(png).decode()
    answers = [
        server.client.post(ROUTE, files={"image": png}),
        server.client.post(ROUTE, json={"image": text}),
        server.client.post(ROUTE, json={"images": [text]}),
        server.client.post(ROUTE, content=png, headers=PICTURE),
    ]
    vectors = np.array([answer.json()["vectors"][0] for answer in answers])
    np.testing.assert_allclose(vectors, vectors[[0] * len(vectors)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by", ["Accept", "format"])
def test_npy_holds_the_same_numbers(server: Server, png: bytes, by: str) -> None:
    accept = {"Accept": "application/x-npy"} if by == "Accept" else {}
    params = {"format": "npy"} if by == "format" else {}
    response = server.client.post(ROUTE, content=png, params=params, headers={**PICTURE, **accept})
    assert response.headers["content-type"] == "application/x-npy"
    array = np.load(BytesIO(response.content), allow_pickle=False)
    assert array.dtype == np.float32
    listed = server.client.post(ROUTE, content=png, headers=PICTURE).json()["vectors"]
    np.testing.assert_allclose(array, np.array(listed), rtol=1e-4, atol=1e-4)


def test_options_change_the_vectors_as_they_say(server: Server, png: bytes) -> None:
    options: dict[str, Any] = {
        "timesteps": [50, 200],
        "blocks": ["mid_block"],
        "normalise": "true",
        "noise_samples": 2,
        "fit": "pad",
    }
    answer = server.client.post(ROUTE, content=png, params=options, headers=PICTURE).json()
    assert answer["blocks"] == ["mid_block"]
    assert answer["timesteps"] == [50, 200]
    assert answer["rows"] == 4
    assert np.linalg.norm(answer["vectors"][0]) == pytest.approx(1, abs=1e-5)


def test_blocks_go_by_number_in_a_query_too(server: Server, png: bytes) -> None:
    response = server.client.post(ROUTE, content=png, params={"blocks": ["1", "2"]}, headers=PICTURE)
    assert response.status_code == 200, response.text
    assert len(response.json()["blocks"]) == 2


def test_every_bad_image_is_refused_by_its_place(
    server: Server, png: bytes, bad_images: dict[str, bytes], check_problem: Any
) -> None:
    for data in bad_images.values():
        response = server.client.post(ROUTE, files=[("image", png), ("image", data)])
        assert check_problem(response, 422, "invalid-input")["field"] == "images.1"


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"images": []}, "images", "at least 1 item"),
        ({"image": None}, "", "either `image` or `images`"),
        ({"images": ["aGk="]}, "", "either `image` or `images`"),
        ({"timesteps": []}, "timesteps", "at least 1 item"),
        ({"timesteps": [1000]}, "timesteps", "outside 0..999"),
        ({"timesteps": [-1]}, "timesteps.0", "greater than or equal to 0"),
        ({"timesteps": 100}, "timesteps", "valid array"),
        ({"blocks": ["down_blocks.77"]}, "blocks", "down_blocks.77"),
        ({"blocks": [999]}, "blocks", "999"),
        ({"blocks": []}, "blocks", "at least 1 item"),
        ({"pool_size": 0}, "pool_size", "greater than or equal to 1"),
        ({"pool_size": 64}, "pool_size", "64"),
        ({"noise_samples": -1}, "noise_samples", "greater than or equal to 0"),
        ({"normalise": "yes please"}, "normalise", "boolean"),
        ({"fit": "stretch"}, "fit", "'crop', 'pad' or 'squash'"),
        ({"format": "csv"}, "format", "'json' or 'npy'"),
        ({"timestep": 100}, "timestep", "did you mean timesteps?"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    server: Server, png: bytes, check_problem: Any, options: dict[str, Any], field: str, message: str
) -> None:
    body = {"image": base64.b64encode(png).decode(), **options}
    fields = {name: value for name, value in body.items() if value is not None}
    problem = check_problem(server.client.post(ROUTE, json=fields), 422, "invalid-input")
    assert problem["field"].startswith(field)
    assert message in " ".join([problem["detail"], problem["hint"], *(error["msg"] for error in problem["errors"])])


def test_too_many_images_are_refused(server: Server, png: bytes, check_problem: Any) -> None:
    check_problem(server.client.post(ROUTE, files=[("image", png)] * 65), 422, "invalid-input")
    check_problem(server.client.post(ROUTE, files=[("image", png)] * 66), 422, "invalid-input")
