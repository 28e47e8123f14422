"""POST /v1/perceive: several tasks on one image answer what they answer apart."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.conftest import Server

FOUR = {"tasks": ["depth", "segmentation", "referring", "features"], "expressions": ["a two"]}


def post(server: Server, path: str, png: bytes, data: dict[str, Any] | None = None, **headers: str) -> Any:
    return server.client.post(path, files={"image": png}, data=data or {}, headers=headers)


def test_tasks_together_answer_what_they_answer_apart_with_fewer_rows(dense_server: Server, png: bytes) -> None:
    together = post(dense_server, "/v1/perceive", png, FOUR).json()
    depth = post(dense_server, "/v1/depth", png).json()
    segmentation = post(dense_server, "/v1/segmentation", png).json()
    referring = post(dense_server, "/v1/segmentation/referring", png, {"expression": "a two"}).json()
    features = post(dense_server, "/v1/features", png).json()
    for name in depth["statistics"]:
        assert together["depth"]["statistics"][name] == pytest.approx(depth["statistics"][name], abs=1e-3)
    assert [segment["name"] for segment in together["segmentation"]["segments"]] == [
        segment["name"] for segment in segmentation["segments"]
    ]
    assert together["referring"]["masks"][0]["area"] == pytest.approx(referring["masks"][0]["area"], abs=12)
    assert together["features"]["vector"] == pytest.approx(features["vectors"][0], abs=1e-3)
    apart = depth["rows"] + segmentation["rows"] + referring["rows"] + features["rows"]
    assert together["rows"] <= apart


def test_zero_shot_goes_with_the_others(dense_server: Server, png: bytes) -> None:
    body = {"tasks": ["zero_shot", "depth"], "labels": ["a zero", "a one"]}
    answer = post(dense_server, "/v1/perceive", png, body).json()
    assert answer["zero_shot"]["label"] in body["labels"]
    assert sum(answer["zero_shot"]["probabilities"]) == pytest.approx(1)
    assert "segmentation" not in answer


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ({"zero-shot": {"labels": ["a", "b"], "trails": 2}}, ("tasks.zero-shot.trails", "trials")),
        ({"zero-shot": {"labels": ["a", "b"], "format": "png"}}, ("tasks.zero-shot.format", "json")),
        ({"colour": {}}, ("'colour' is not a task", "depth")),
    ],
)
def test_an_invalid_task_is_reported_with_its_place(
    server: Server, png: bytes, tasks: dict[str, object], parts: tuple[str, ...]
) -> None:
    response = server.client.post("/v1/perceive", json={"image": base64.b64encode(png).decode(), "tasks": tasks})
    assert response.status_code == 422
    assert all(part in response.text for part in parts), response.text
