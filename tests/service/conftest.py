"""Odd pictures of every kind, small heads with random weights, and the common checks of problems."""

from __future__ import annotations

import json
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from backbones.loading.source import open_backbone
from backbones.loading.variants import BASE_REVISION
from heads.diffews.bank import SUPPORT
from heads.diffews.checkpoint import fresh_variant
from heads.vpd.checkpoint import FittedAs, save_fitted
from tests.conftest import Server, StartServer
from tests.heads.vpd.conftest import CLASSES, TOKENS, random_network

if TYPE_CHECKING:
    import httpx2


def encode_image(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def giant_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="session")
def odd_images(picture: Image.Image) -> dict[str, bytes]:
    """Files that must be read: name -> bytes."""
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    grey16 = Image.fromarray(np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40))
    flipped = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return {
        "cmyk.jpg": encode_image(picture.convert("CMYK"), "JPEG"),
        "grey16.png": encode_image(grey16, "PNG"),
        "grey16.tif": encode_image(grey16, "TIFF"),
        "grey.png": encode_image(picture.convert("L"), "PNG"),
        "bilevel.png": encode_image(picture.convert("1"), "PNG"),
        "grey_alpha.png": encode_image(picture.convert("LA"), "PNG"),
        "rgba.png": encode_image(picture.convert("RGBA"), "PNG"),
        "palette_transparent.png": encode_image(palette, "PNG", transparency=3),
        "turned.jpg": encode_image(picture, "JPEG", exif=turned),
        "turned.tif": encode_image(picture, "TIFF", exif=turned),
        "turned.webp": encode_image(picture, "WEBP", exif=turned),
        "animated.gif": encode_image(picture, "GIF", save_all=True, append_images=[flipped]),
        "animated.webp": encode_image(picture, "WEBP", save_all=True, append_images=[flipped]),
        "pages.tif": encode_image(picture, "TIFF", save_all=True, append_images=[flipped]),
        "plain.bmp": encode_image(picture, "BMP"),
        "progressive.jpg": encode_image(picture, "JPEG", progressive=True),
        "one_pixel.png": encode_image(Image.new("RGB", (1, 1), "red"), "PNG"),
    }


@pytest.fixture(scope="session")
def bad_images(picture: Image.Image, png: bytes) -> dict[str, bytes]:
    """Files that must be refused: name -> bytes."""
    jpeg = encode_image(picture, "JPEG")
    return {
        "empty.png": b"",
        "text.png": b"this is no image\n" * 20,
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": png[: len(png) // 2],
        "header_only.png": png[:20],
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "page.pdf": encode_image(picture, "PDF"),
        "other.ppm": encode_image(picture, "PPM"),
        "float.tif": encode_image(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
        "bomb.png": giant_header(40_000, 40_000),
        "larger_than_the_setting.png": giant_header(8_000, 8_000),
        "no_pixels.png": giant_header(0, 0),
        "strip.png": giant_header(20_000, 1),
    }


def assert_problem(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that the response is this problem, with all its fields; returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["hint"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == response.request.url.path
    return problem


@pytest.fixture(scope="session")
def check_problem() -> Any:
    """`assert_problem`, for tests to call: check_problem(response, 422, "invalid-input")."""
    return assert_problem


CLASS_NAMES = tuple(f"thing {index}" for index in range(CLASSES))


@pytest.fixture(scope="session")
def heads_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three heads as `diffsight fit` writes them."""
    folder = tmp_path_factory.mktemp("heads")
    backbone = open_backbone("pocket")
    description = backbone.description
    palette = tuple((40 * index, 250 - 40 * index, 90) for index in range(CLASSES))
    for task in ("depth", "segmentation", "referring"):
        fitted = FittedAs(
            task, "pocket", description.revision, description.image_size, 8.0, CLASS_NAMES, palette, TOKENS
        )
        save_fitted(folder / f"{task}.safetensors", random_network(backbone, task), fitted)
    return folder


@pytest.fixture(scope="module")
def dense_server(heads_folder: Path, start_server: StartServer) -> Server:
    names = ("depth", "segmentation", "referring")
    running = start_server(heads={name: str(heads_folder / f"{name}.safetensors") for name in names})
    assert running.state.models.failure is None
    return running


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network from which training starts, over pocket: an untrained few-shot network."""
    model = open_backbone("pocket")
    folder = tmp_path_factory.mktemp("few-shot") / "unet"
    folder.mkdir()
    convolution = fresh_variant(model).input_convolutions[SUPPORT].state_dict()
    save_file(
        {f"conv_in_ref.{key}": tensor for key, tensor in convolution.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    unet: Any = model.variants[""].unet
    config = dict(unet.config) | {BASE_REVISION: model.description.revision}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if not k.startswith("_")}))
    return folder
