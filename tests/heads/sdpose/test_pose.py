"""POST /v1/pose over the real server: a small published network, every form of request and answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel

from heads.sdpose.pose import TASK
from heads.sdpose.poses import CocoPoses, OpenPosePeople
from service.api.schemas import answer_model
from tests.conftest import Server, running_server

PUBLISHED = Path(__file__).parents[2] / "conformance/fixtures/sdpose/wholebody/checkpoint"
ROUTE = "/v1/pose"
POSE = {"crop_width": 96, "crop_height": 128}
BOXES = [[2.0, 1.0, 20.0, 25.0], [15.5, -4.0, 30.0, 40.0]]


@pytest.fixture(scope="module")
def pose_server() -> Iterator[Server]:
    with running_server(backbone=str(PUBLISHED), pose=POSE) as running:
        assert running.state.models.failure is None
        yield running


def ask(pose_server: Server, png: bytes, **options: Any) -> Any:
    body = {"image": base64.b64encode(png).decode(), **options}
    return pose_server.client.post(ROUTE, json=body)


def test_boxes_come_back_in_their_order_with_their_points(pose_server: Server, png: bytes) -> None:
    answer = ask(pose_server, png, boxes=BOXES, box_scores=[0.5, 0.25]).json()
    assert [person["bbox"] for person in answer["persons"]] == BOXES
    assert [person["bbox_score"] for person in answer["persons"]] == [0.5, 0.25]
    assert answer["boxes_from"] == "caller"
    assert len(answer["names"]) == 133
    assert answer["rows"] == 2
    for person in answer["persons"]:
        assert len(person["keypoints"]) == len(person["keypoint_scores"]) == 133
    turned = ask(pose_server, png, boxes=BOXES[::-1]).json()
    scores, others = ([person["keypoint_scores"] for person in response["persons"]] for response in (answer, turned))
    np.testing.assert_allclose(scores, others[::-1], atol=1e-4)


def test_a_form_and_a_raw_body_answer_as_json_does(pose_server: Server, png: bytes) -> None:
    expected = ask(pose_server, png, boxes=BOXES, flip_test=True).json()["persons"]
    form = pose_server.client.post(ROUTE, files={"image": png}, data={"boxes": json.dumps(BOXES), "flip_test": "true"})
    query = {"boxes": json.dumps(BOXES), "flip_test": "true"}
    raw = pose_server.client.post(ROUTE, content=png, params=query, headers={"Content-Type": "image/png"})
    assert form.json()["persons"] == raw.json()["persons"] == expected


def test_without_boxes_and_detector_the_image_is_one_person(pose_server: Server, png: bytes) -> None:
    answer = ask(pose_server, png).json()
    assert answer["boxes_from"] == "whole_image"
    assert [person["bbox"] for person in answer["persons"]] == [[0, 0, 40, 30]]


def test_without_persons_the_answer_is_an_empty_list(pose_server: Server, png: bytes) -> None:
    response = ask(pose_server, png, boxes=[])
    assert response.status_code == 200
    assert response.json()["persons"] == []
    assert response.json()["rows"] == 0
    assert ask(pose_server, png, boxes=[], format="coco").json()["annotations"] == []
    assert ask(pose_server, png, boxes=[], format="openpose").status_code == 200


def test_a_box_without_size_fails_alone(pose_server: Server, png: bytes) -> None:
    answer = ask(pose_server, png, boxes=[BOXES[0], [5, 5, 0, 3], BOXES[1]]).json()
    good, bad, other = answer["persons"]
    assert "above 0" in bad["problem"]
    assert bad["keypoints"] == []
    expected = ask(pose_server, png, boxes=BOXES).json()["persons"]
    np.testing.assert_allclose([good["keypoint_scores"], other["keypoint_scores"]],
                               [person["keypoint_scores"] for person in expected], atol=1e-4)  # fmt: skip
    assert len(ask(pose_server, png, boxes=[BOXES[0], [5, 5, 0, 3]], format="coco").json()["annotations"]) == 1
    assert len(ask(pose_server, png, boxes=[BOXES[0], [5, 5, 0, 3]], format="openpose_json").json()["people"]) == 1
    assert ask(pose_server, png, boxes=[[5, 5, 0, 3]], format="overlay").status_code == 200


def test_the_body_alone_and_normalised(pose_server: Server, png: bytes) -> None:
    whole = ask(pose_server, png, boxes=BOXES).json()["persons"][0]
    answer = ask(pose_server, png, boxes=BOXES, points="body", coordinates="normalised").json()
    person = answer["persons"][0]
    assert len(answer["names"]) == len(person["keypoints"]) == 17
    assert max(max(link) for link in answer["links"]) < 17
    np.testing.assert_allclose(np.array(person["keypoints"]) * [40, 30], whole["keypoints"][:17], atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("form", ["overlay", "openpose"])
@pytest.mark.parametrize("points", ["body", "all"])
def test_pictures_have_the_images_size(pose_server: Server, png: bytes, form: str, points: str) -> None:
    response = ask(pose_server, png, boxes=BOXES, format=form, points=points, keypoint_threshold=0)
    assert response.headers["content-type"] == "image/png"
    with Image.open(BytesIO(response.content)) as drawn:
        assert drawn.size == (40, 30)
        assert np.asarray(drawn).max() > 0


def test_accept_chooses_the_picture(pose_server: Server, png: bytes) -> None:
    headers = {"Content-Type": "image/png", "Accept": "image/png"}
    assert pose_server.client.post(ROUTE, content=png, headers=headers).headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("form", "model"), [("json", answer_model(TASK)), ("coco", CocoPoses), ("openpose_json", OpenPosePeople)]
)
def test_every_json_form_is_one_of_the_document(
    pose_server: Server, png: bytes, form: str, model: type[BaseModel]
) -> None:
    answer = ask(pose_server, png, boxes=BOXES, format=form).json()
    assert model.model_validate(answer).model_dump().keys() == answer.keys()
    path = ROUTE if form == "json" else f"{ROUTE}/{form}"
    schema = pose_server.client.get("/openapi.json").json()["paths"][path]["post"]["responses"]["200"]
    assert schema["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{model.__name__}"}


def test_a_box_too_small_to_scale_fails_alone(pose_server: Server, png: bytes) -> None:
    good, tiny = ask(pose_server, png, boxes=[BOXES[0], [0, 0, 1e-300, 1e-300]]).json()["persons"]
    assert good["problem"] == ""
    assert "both must be above 0" in tiny["problem"]


def test_openpose_json_has_openposes_lists(pose_server: Server, png: bytes) -> None:
    person = ask(pose_server, png, boxes=BOXES, format="openpose_json").json()["people"][0]
    lengths = {part.removesuffix("_keypoints_2d"): len(values) // 3 for part, values in person.items()}
    assert lengths == {"pose": 18, "face": 70, "hand_left": 21, "hand_right": 21, "foot": 6}


def test_coco_loads_in_pycocotools(pose_server: Server, png: bytes, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    content = ask(pose_server, png, boxes=BOXES, format="coco", points="body", keypoint_threshold=0.5).json()
    (tmp_path / "poses.json").write_text(json.dumps(content))
    coco = COCO(str(tmp_path / "poses.json"))
    rows = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(["person"])))
    assert [row["bbox"] for row in rows] == BOXES
    for row in rows:
        visible = np.array(row["keypoints"]).reshape(17, 3)[:, 2]
        assert visible.tolist() == [2 if score >= 0.5 else 0 for score in row["keypoint_scores"]]
        assert row["num_keypoints"] == (visible > 0).sum()


def test_the_network_is_listed(pose_server: Server) -> None:
    tasks = {task["task"]: task for task in pose_server.client.get("/v1/models").json()["tasks"]}
    assert tasks["pose"]["defaults"]["points"] == 133


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"boxes": [[1, 2, 3]]}, "boxes", "at least 4"),
        ({"boxes": [1, 2, 3, 4]}, "boxes", "array"),
        ({"boxes": "1,2,3,4"}, "boxes", "array"),
        ({"boxes": [[1, 2, 3, 4]] * 201}, "boxes", "201 boxes"),
        ({"boxes": [[1, 2, 3, 4]], "box_scores": [0.1, 0.2]}, "box_scores", "2 scores"),
        ({"boxes": [[1, 2, 3, 4]], "persons": "detector"}, "persons", "either boxes or persons"),
        ({"persons": "everybody"}, "persons", "'whole_image'"),
        ({"crop": "squash"}, "crop", "'affine' or 'stretch'"),
        ({"keypoint_threshold": -1}, "keypoint_threshold", "greater than or equal to 0"),
        ({"format": "svg"}, "format", "'json'"),
        ({"box": [[1, 2, 3, 4]]}, "box", "did you mean boxes?"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    pose_server: Server, png: bytes, check_problem: Any, options: dict[str, Any], field: str, message: str
) -> None:
    problem = check_problem(ask(pose_server, png, **options), 422, "invalid-input")
    assert problem["field"].startswith(field)
    assert message in " ".join([problem["detail"], problem["hint"], *(error["msg"] for error in problem["errors"])])


def test_a_detector_that_is_not_there_cannot_be_requested(pose_server: Server, png: bytes, check_problem: Any) -> None:
    problem = check_problem(ask(pose_server, png, persons="detector"), 404, "model-not-found")
    assert "DIFFSIGHT_POSE__DETECTOR" in problem["hint"]


def test_bad_images_are_refused(pose_server: Server, bad_images: dict[str, bytes], check_problem: Any) -> None:
    for data in bad_images.values():
        check_problem(pose_server.client.post(ROUTE, files={"image": data}), 422, "invalid-input")


def test_a_checkpoint_that_is_not_there_fails_the_start() -> None:
    with running_server(pose={"checkpoint": "/nowhere/SDPose"}) as running:
        assert "/nowhere/SDPose" in str(running.state.models.failure)
