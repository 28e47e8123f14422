"""The function file for CVAT, against real servers, its results checked by CVAT's own SDK."""

from __future__ import annotations

import io
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import pytest
import urllib3.exceptions
from cvat_sdk import models
from cvat_sdk.auto_annotation.driver import _AnnotationMapper
from cvat_sdk.masks import decode_mask
from PIL import Image

from backbones.errors import InvalidInput
from diffsight.cvat_function import NoAnswer, create, encode
from heads.outputs import Rle, decode_rle
from service.inputs.images import decode_image
from service.settings.groups import LimitSettings
from tests.conftest import Server, StartServer, running_server
from tests.heads.sdpose.test_pose import POSE, PUBLISHED
from tests.service.library.test_few_shot import picture, supports


class Context(cvataa.DetectionFunctionContext):  # type: ignore[misc]
    """What CVAT passes with a frame."""

    def __init__(self, conf_threshold: float | None = None, conv_mask_to_poly: bool = False) -> None:
        self._conf_threshold, self._conv_mask_to_poly = conf_threshold, conv_mask_to_poly

    @property
    def frame_name(self) -> str:
        return "a.png"

    @property
    def conf_threshold(self) -> float | None:
        return self._conf_threshold

    @property
    def conv_mask_to_poly(self) -> bool:
        return self._conv_mask_to_poly


def convert_annotations(function: Any, annotations: list[Any], *, polygons: bool = False) -> list[Any]:
    """The shapes as the SDK would send them to a CVAT task with the function's own labels. Raises BadFunctionError."""
    labels = []
    for label in function.spec.labels:
        sublabels = [
            models.Sublabel(id=100 + sublabel.id, name=sublabel.name, type="points", attributes=[])
            for sublabel in getattr(label, "sublabels", [])
        ]
        kind = "skeleton" if sublabels else "any"
        labels.append(models.Label(id=10 + label.id, name=label.name, type=kind, sublabels=sublabels, attributes=[]))
    mapper = _AnnotationMapper(
        logging.getLogger("cvat"),
        function.spec.labels,
        labels,
        allow_unmatched_labels=False,
        conv_mask_to_poly=polygons,
    )
    tags, shapes = mapper.validate_and_remap(annotations, 5)
    assert tags == []
    assert {shape.frame for shape in shapes} <= {5}
    return list(shapes)


@pytest.fixture(scope="module")
def pose_server() -> Iterator[Server]:
    with running_server(backbone=str(PUBLISHED), pose=POSE) as running:
        assert running.state.models.failure is None
        yield running


def test_persons_are_skeletons(pose_server: Server, picture: Image.Image, png: bytes) -> None:
    function = create(url=pose_server.url + "/", task="pose")
    (label,) = function.spec.labels
    alone = pose_server.client.post("/v1/pose", files={"image": png}).json()
    assert [sublabel.name for sublabel in label.sublabels] == alone["names"]
    (shape,) = convert_annotations(function, function.detect(Context(), picture))
    assert shape.type.value == "skeleton"
    scores = alone["persons"][0]["keypoint_scores"]
    assert [element.outside for element in shape.elements] == [score < 0.3 for score in scores]
    assert [element.label_id for element in shape.elements] == [100 + at for at in range(len(scores))]
    near = (
        np.abs(np.array([element.points for element in shape.elements]) - alone["persons"][0]["keypoints"]).max(axis=1)
        < 0.1
    )
    assert near.mean() > 0.9  # weights are random, and some maps have no peak
    assert function.detect(Context(conf_threshold=1000.0), picture) == []


@pytest.fixture(scope="module")
def mask_server(
    start_server: StartServer,
    heads_folder: Path,
    weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    return start_server(
        heads={name: str(heads_folder / f"{name}.safetensors") for name in ("segmentation", "referring")},
        few_shot={"weights": str(weights)},
        data_folder=tmp_path_factory.mktemp("data"),
    )


def test_masks_of_every_task(mask_server: Server) -> None:
    image = picture(3)
    opened = Image.open(io.BytesIO(image))
    made = mask_server.client.post("/v1/concepts", json={"name": "square", **supports(7)}).json()
    post = mask_server.client.post
    expected = {
        "segmentation": post("/v1/segmentation", files={"image": image}).json()["segments"],
        "referring": post(
            "/v1/segmentation/referring", files={"image": image}, data={"expressions": ["a two", "a three"]}
        ).json()["masks"],
        "few-shot": [
            concept["mask"]
            for concept in post(
                "/v1/segmentation/few-shot", files={"image": image}, data={"concepts": made["id"]}
            ).json()["concepts"]
        ],
    }
    assert expected["segmentation"]
    for task, masks_of_task in expected.items():
        function = create(mask_server.url, task=task, labels="a two, a three", concepts=made["id"])
        names = {10 + label.id: label.name for label in function.spec.labels}
        by_name = {part["name"]: decode_rle(Rle(**part["rle"])) for part in masks_of_task if part["area"]}
        shapes = convert_annotations(function, function.detect(Context(), opened))
        assert {names[shape.label_id] for shape in shapes} == by_name.keys()
        for shape in shapes:
            mask = decode_mask(shape.points, image_width=opened.width, image_height=opened.height)
            assert (mask != by_name[names[shape.label_id]]).mean() < 0.005
        outlines = convert_annotations(
            function, function.detect(Context(conv_mask_to_poly=True), opened), polygons=True
        )
        assert {shape.type.value for shape in outlines} <= {"polygon"}
        assert {names[shape.label_id] for shape in outlines} == by_name.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "depth"}, "none of pose"),
        ({"task": "referring"}, "labels=str"),
        ({"task": "few-shot"}, "concepts=str"),
    ],
)
def test_wrong_options_are_reported(mask_server: Server, options: dict[str, str], message: str) -> None:
    with pytest.raises(cvataa.BadFunctionError, match=message):
        create(mask_server.url, **options)


def test_a_refusal_of_the_server_is_reported(mask_server: Server) -> None:
    with pytest.raises(NoAnswer, match=r"404.*nothing-stored"):
        create(mask_server.url, task="few-shot", concepts="nothing")


def test_a_server_that_is_away_is_named_with_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # no server listens there
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(urllib3.exceptions.HTTPError, match=f"{url} .*refused.*diffsight serve"):
            create(url)


def odd_frames() -> dict[str, Image.Image]:
    """Frames of every mode, as CVAT's SDK hands them over."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 4), dtype=np.uint8)
    colours = Image.fromarray(pixels[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    colours.save(file, "JPEG", exif=exif)
    return {
        "alpha": Image.fromarray(pixels),
        "grey alpha": Image.fromarray(pixels[..., :2]),
        "sixteen": Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        "palette": colours.quantize(8),
        "bits": colours.convert("1"),
        "cmyk": colours.convert("CMYK"),
        "turned": Image.open(file),
    }


@pytest.mark.field
@pytest.mark.parametrize("name", list(odd_frames()))
def test_a_frame_is_looked_at_as_the_server_reads_its_file(name: str) -> None:
    frame = odd_frames()[name]
    file = io.BytesIO()
    frame.save(file, "TIFF" if frame.mode == "CMYK" else "PNG")
    own = decode_image(file.getvalue(), LimitSettings())
    sent = decode_image(encode(frame), LimitSettings())
    assert (sent.width, sent.height) == frame.size
    np.testing.assert_array_equal(sent.array, own.array)


@pytest.mark.field
def test_a_frame_that_the_server_refuses_is_refused_and_not_changed() -> None:
    with pytest.raises(InvalidInput, match="32-bit"):
        decode_image(encode(Image.new("F", (4, 4))), LimitSettings())
