"""/hf beyond the calls of the client: forms of bodies, values that are refused, models by name."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from service.protocols.huggingface import PIPELINES
from tests.conftest import Server

SEGMENTATION = "/hf/image-segmentation"


@pytest.fixture(scope="module")
def text(png: bytes) -> str:
    return base64.b64encode(png).decode()


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "application/octet-stream", ""])
def test_an_image_by_itself_is_read_whatever_it_is_called(server: Server, png: bytes, content_type: str) -> None:
    """The client sends bytes of an unknown type as `application/json`."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = server.client.post(SEGMENTATION, content=png, headers=headers)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()[0]) == {"label", "score", "mask"}


def test_a_threshold_leaves_segments_out(server: Server, text: str) -> None:
    everything = server.client.post(SEGMENTATION, json={"inputs": text}).json()
    least = sorted(segment["score"] for segment in everything)[-1]
    kept = server.client.post(SEGMENTATION, json={"inputs": text, "parameters": {"threshold": least}}).json()
    assert [item["score"] for item in kept] == [segment["score"] for segment in everything if segment["score"] >= least]


def test_labels_may_come_in_one_text_and_with_a_template() -> None:
    pipeline = PIPELINES["zero-shot-image-classification"]
    parameters = {"candidate_labels": "cat, dog", "hypothesis_template": "a {}"}
    body = pipeline.body.model_validate({"inputs": b"", "parameters": parameters})
    assert pipeline.to_options(body) == {"labels": ["cat", "dog"], "templates": ["a {}"]}


def test_a_model_is_named_in_the_path(server: Server, text: str) -> None:
    named = server.client.post("/hf/feature-extraction/pocket", json={"inputs": [text, text]})
    vectors = server.client.post("/v1/features", json={"images": [text, text]}).json()["vectors"]
    np.testing.assert_allclose(named.json(), vectors, rtol=1e-4, atol=1e-4)  # rows may share other batches
    unknown = server.client.post("/hf/feature-extraction/other", json={"inputs": text})
    assert (unknown.status_code, unknown.json()["error"]) == (
        404,
        "this server has no model 'other'; its models are: pocket",
    )


def test_the_health_of_a_pipeline_is_that_of_its_task(server: Server) -> None:
    paths = (SEGMENTATION, f"{SEGMENTATION}/pocket", "/hf/image-classification/some-id", f"{SEGMENTATION}/other")
    assert [server.client.get(f"{path}/health").status_code for path in paths] == [200, 200, 200, 404]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        (SEGMENTATION, {"parameters": {"subtask": "panoptic"}}, 422, "should be 'semantic'"),
        ("/hf/feature-extraction", {"inputs": "Hi, who are you?"}, 422, "not base64 of an image file"),
        ("/hf/feature-extraction", {"inputs": []}, 422, "at least 1 item"),
        ("/hf/feature-extraction", {"inputs": "https://example.org/a.png"}, 422, "it fetches nothing"),
        ("/hf/feature-extraction", {"truncate": True}, 422, "Unknown field"),
        ("/hf/zero-shot-image-classification", {"parameters": {}}, 422, "candidate_labels"),
        ("/hf/zero-shot-image-classification", {"parameters": {"candidate_labels": []}}, 422, "labels"),
        ("/hf/image-classification", {}, 422, "send it to /hf/image-classification/ID"),
        ("/hf/image-classification/none", {}, 404, "there is no classifier 'none'"),
        ("/hf/object-detection", {"parameters": {"threshold": 2}}, 422, "less than or equal to 1"),
        ("/hf/text-generation", {}, 404, "Not Found"),
    ],
)
def test_an_invalid_request_is_refused_with_the_reason(
    server: Server, text: str, path: str, body: dict[str, Any], status: int, reason: str
) -> None:
    refused = server.client.post(path, json={"inputs": text, **body})
    assert refused.status_code == status
    assert reason in refused.json()["error"]
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_an_empty_body_is_no_fault(server: Server) -> None:
    refused = server.client.post(SEGMENTATION, content=b"")
    assert refused.status_code == 400
    assert "the body is empty" in refused.json()["error"]
