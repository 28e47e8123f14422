"""POST /v1/match/image-text on the real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.service.conftest import encode_image
from training.datasets.digits import load_held_out_digits

if TYPE_CHECKING:
    from tests.conftest import Server

ROUTE = "/v1/match/image-text"


@pytest.fixture(scope="module")
def digits() -> list[bytes]:
    """A zero and a one that training never saw."""
    from PIL import Image

    held_out = load_held_out_digits()
    chosen = [int(np.flatnonzero(held_out.labels == digit)[0]) for digit in (0, 1)]
    return [encode_image(Image.fromarray(held_out.image(index)), "PNG") for index in chosen]


def test_captions_find_their_images(server: Server, digits: list[bytes]) -> None:
    captions = ["a handwritten zero", "a handwritten one"]
    files = [("image", digit) for digit in digits]
    response = server.client.post(ROUTE, files=files, data={"captions": captions, "interval": "50"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["best_caption"] == [0, 1]
    assert answer["winoground"]["text"] is True
    assert (answer["timesteps"], answer["rows"]) == (20, 3 * 2 * 20)
    plain, corrected = np.array(answer["scores"]), np.array(answer["corrected_scores"])
    assert plain.shape == (2, 2)
    # The same baseline is taken from all scores of an image.
    np.testing.assert_allclose((plain - corrected).std(axis=0), 0, atol=1e-9)
    again = server.client.post(ROUTE, files=files, data={"captions": captions, "interval": "50"}).json()
    np.testing.assert_allclose(again["scores"], answer["scores"], atol=1e-6)


def test_other_numbers_of_captions_and_images_have_no_winoground_score(server: Server, digits: list[bytes]) -> None:
    data = {"captions": ["a zero", "a one", "a two"], "interval": "500"}
    answer = server.client.post(ROUTE, files=[("image", digits[0])], data=data).json()
    assert answer["winoground"] is None
    assert (len(answer["scores"]), len(answer["scores"][0])) == (3, 1)
    assert answer["best_image"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "captions"),
        ({"captions": "a " * 200}, "captions"),
        ({"captions": "  "}, "captions"),
        ({"captions": "a", "interval": "0"}, "interval"),
        ({"captions": ["a"] * 999, "interval": "1"}, "interval"),
    ],
)
def test_invalid_captions_and_intervals_are_refused(
    server: Server, digits: list[bytes], check_problem: Any, data: dict[str, Any], field: str
) -> None:
    problem = check_problem(server.client.post(ROUTE, files=[("image", digits[0])], data=data), 422, "invalid-input")
    assert problem["field"].split(".")[0] == field
