"""/roboflow as its SDK calls it, and what is refused."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Server
from tests.protocols.native import fit_classifier, picture

INFER = "/roboflow/infer"


def body(**members: Any) -> dict[str, Any]:
    return {"image": {"type": "base64", "value": picture()}, **members}


def answer_of(server: Server, route: str, **members: Any) -> Any:
    answer = server.client.post(f"{INFER}/{route}", json=body(**members))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_registry_lists_what_infer_takes(server: Server) -> None:
    classifier = fit_classifier(server.client)
    models = server.client.get("/roboflow/model/registry").json()["models"]
    kinds = {model["model_id"]: model["task_type"] for model in models}
    assert kinds["pose"] == kinds["pose/pocket"] == "keypoint-detection"
    assert kinds["persons"] == "object-detection"
    assert kinds["segmentation"] == kinds["referring"] == "instance-segmentation"
    assert kinds[f"classifier/{classifier}"] == "classification"
    assert server.client.post("/roboflow/model/add", json={"model_id": "pose/pocket", "api_key": "x"}).json() == {
        "models": models
    }
    assert set(server.client.get("/roboflow/info").json()) == {"name", "version", "uuid"}


def test_semantic_pictures_are_the_class_map(server: Server) -> None:
    predictions = answer_of(server, "semantic_segmentation")["predictions"]
    mask = np.asarray(Image.open(BytesIO(base64.b64decode(predictions["segmentation_mask"]))))
    sent = {"image": picture(), "format": "npy"}
    expected = np.load(BytesIO(server.client.post("/v1/segmentation", json=sent).content))
    assert (mask == expected).all()
    assert predictions["present_class_ids"] == np.unique(expected).tolist()
    assert set(predictions["class_map"]) == {str(number) for number in range(len(predictions["class_map"]))}


def test_predictions_are_filtered_as_requested(server: Server) -> None:
    everything = answer_of(server, "instance_segmentation", response_mask_format="rle", confidence="default")
    names = [prediction["class"] for prediction in everything["predictions"]]
    kept = answer_of(server, "instance_segmentation", response_mask_format="rle", class_filter=names[1:2])
    assert [prediction["class"] for prediction in kept["predictions"]] == names[1:2]
    first = answer_of(server, "instance_segmentation", response_mask_format="rle", max_detections=1)
    assert [prediction["class"] for prediction in first["predictions"]] == names[:1]
    points = answer_of(server, "keypoints_detection", keypoint_confidence=1)["predictions"][0]["keypoints"]
    assert all(point["confidence"] >= 1 for point in points)


def test_a_picture_comes_with_the_answer_if_requested(server: Server) -> None:
    answer = answer_of(server, "keypoints_detection", visualize_predictions=True)
    assert Image.open(BytesIO(base64.b64decode(answer["visualization"]))).size == (128, 128)


def test_the_older_route_takes_the_image_as_the_body(server: Server) -> None:
    older = server.client.post("/roboflow/pose/pocket", params={"confidence": 0.3, "api_key": "x"}, content=picture())
    newer = answer_of(server, "keypoints_detection", confidence=0.3)
    assert older.json()["predictions"][0]["keypoints"] == newer["predictions"][0]["keypoints"]
    strict = server.client.post("/roboflow/persons/pocket", params={"confidence": 0.99}, content=picture())
    assert strict.json()["predictions"] == []


@pytest.mark.parametrize("form", ["json", "png16", "png8"])
def test_depth_comes_in_every_form(server: Server, form: str) -> None:
    near = answer_of(server, "depth-estimation/depth-anything-v3/small", depth_map_format=form)["normalized_depth"]
    if form != "json":
        values = np.asarray(Image.open(BytesIO(base64.b64decode(near))))
        assert values.dtype == (np.uint16 if form == "png16" else np.uint8)
        near = values / np.iinfo(values.dtype).max
    assert (np.min(near), np.max(near), np.shape(near)) == (0, 1, (128, 128))


@pytest.mark.parametrize(
    ("path", "members", "reason"),
    [
        (f"{INFER}/classification", {}, "the request names no classifier; send classifier/ID"),
        (
            f"{INFER}/classification",
            {"model_id": "pose"},
            "'pose' is not a model of this server; send one of classifier",
        ),
        (f"{INFER}/instance_segmentation", {"model_id": "referring"}, "`referring` needs the expressions to find"),
        (f"{INFER}/object_detection", {"confidence": 2}, "confidence"),
        (f"{INFER}/object_detection", {"image": {"type": "numpy", "value": "AAAA"}}, "'base64' or 'url'"),
        (f"{INFER}/object_detection", {"image": {"type": "url", "value": "https://x.org/a.png"}}, "fetches nothing"),
        (f"{INFER}/object_detection", {"image": []}, "at least 1 item"),
        (f"{INFER}/object_detection", {"model_id": "persons/other"}, "this server has no model 'other'"),
        ("/roboflow/nothing/1", {}, "'nothing/1' is not a model of this server"),
        ("/roboflow/model/add", {"model_id": "nothing"}, "'nothing' is not a model of this server"),
        ("/roboflow/model/remove", {"model_id": "pose/other"}, "this server has no model 'other'"),
        ("/roboflow/clip/compare", {"subject": {"type": "base64", "value": "?"}, "prompt": ["a"]}, "not base64"),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(
    server: Server, path: str, members: dict[str, Any], reason: str
) -> None:
    refused = server.client.post(path, json=body(**members))
    assert refused.status_code in (404, 422)
    assert reason in refused.json()["message"]
