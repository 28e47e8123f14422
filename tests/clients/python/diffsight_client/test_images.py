"""Images in every form that a caller may have."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffsight_client import BadInput, Client
from diffsight_client.images import is_one, png_of_array, upload_of, uploads_of
from tests.conftest import Server


def pixels_of(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_an_array_becomes_the_same_picture(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert (pixels_of(png_of_array(array)).reshape(shape) == array).all()
    turned = array[::-1, ::-1]  # not contiguous
    assert (pixels_of(png_of_array(turned)).reshape(shape) == turned).all()


def test_a_mask_becomes_black_and_white() -> None:
    mask = np.eye(3, dtype=bool)
    assert (pixels_of(png_of_array(mask)) == mask * 255).all()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), 7, None]
)
def test_an_invalid_image_is_refused_with_what_to_send(image: Any) -> None:
    with pytest.raises(BadInput, match="send"):
        upload_of(image)


def test_one_and_several_are_distinguished(tmp_path: Path, png: bytes) -> None:
    several = np.zeros((2, 4, 4, 3), np.uint8)
    assert is_one(png)
    assert is_one("a.png")
    assert not is_one(["a.png"])
    assert not is_one(several)
    assert len(uploads_of(several)) == 2
    assert len(uploads_of([png, png, png])) == 3


def test_an_address_is_sent_as_one_and_a_path_is_read(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(png)
    assert upload_of("https://example.org/a.png").address == "https://example.org/a.png"
    assert (upload_of(path).name, upload_of(str(path)).data) == ("a b.png", png)
    with pytest.raises(FileNotFoundError):
        upload_of(tmp_path / "nothing.png")


def test_the_server_sees_the_same_picture_however_it_is_sent(
    server: Server, tmp_path: Path, picture: Image.Image, png: bytes
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(png)
    with Client(server.url) as client, path.open("rb") as file:
        kinds: list[Any] = [path, str(path), png, bytearray(png), memoryview(png), file, picture, np.asarray(picture)]
        answers = [client.depth(kind, maps=False).statistics for kind in kinds]
    assert all(answer == answers[0] for answer in answers)
