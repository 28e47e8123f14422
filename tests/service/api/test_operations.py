"""The operations for one kind of body or answer, beside the routes that take several, on a real server."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffsight.openapi_document import COMMITTED
from tests.conftest import Server

ZERO_SHOT = {"labels": ["one", "two"], "scheme": "race", "budget": 8}


def test_one_image_is_taken_as_a_form_as_json_and_by_itself(server: Server, png: bytes) -> None:
    whole = server.client.post("/v1/depth", files={"image": png}, data={"maps": "false"})
    form = server.client.post("/v1/depth/upload", files={"image": png}, data={"maps": "false"})
    alone = server.client.post(
        "/v1/depth/image", content=png, params={"maps": "false"}, headers={"Content-Type": "image/png"}
    )
    for answer in (form, alone):
        assert answer.status_code == 200, answer.text
        assert answer.json()["statistics"] == whole.json()["statistics"]


def test_a_zip_goes_by_itself(server: Server, png: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", png)
        archive.writestr("b.png", png)
    octets = {"Content-Type": "application/octet-stream"}
    answer = server.client.post("/v1/features/image", content=file.getvalue(), headers=octets)
    assert len(answer.json()["vectors"]) == 2
    job = server.client.post(
        "/v1/jobs/zip",
        content=file.getvalue(),
        params={"task": "features"},
        headers={"Content-Type": "application/zip"},
    )
    assert job.status_code == 201, job.text
    assert server.client.delete(f"/v1/jobs/{job.json()['id']}").status_code == 204


def test_a_form_of_the_answer_has_a_path(server: Server, png: bytes) -> None:
    picture = server.client.post("/v1/depth/png16", files={"image": png})
    same = server.client.post("/v1/depth", files={"image": png}, data={"format": "png16"})
    assert picture.headers["content-type"] == "image/png"
    assert (
        np.asarray(Image.open(io.BytesIO(picture.content))) == np.asarray(Image.open(io.BytesIO(same.content)))
    ).all()
    octets = server.client.post("/v1/depth/png16", files={"image": png}, headers={"Accept": "application/octet-stream"})
    assert octets.headers["content-type"] == "application/octet-stream"
    assert octets.content == picture.content


def test_the_path_is_not_contradicted(server: Server, png: bytes, check_problem: Any) -> None:
    answer = server.client.post("/v1/depth/png16", files={"image": png}, data={"format": "npy"})
    assert check_problem(answer, 422, "invalid-input")["field"] == "format"


def test_events_have_a_path(server: Server, png: bytes) -> None:
    answer = server.client.post("/v1/classify/zero-shot/events", files={"image": png}, data=ZERO_SHOT)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *_, last = answer.text.strip().split("\n\n")
    name, data = last.split("\n")
    assert name == "event: answer"
    assert json.loads(data.removeprefix("data: "))["label"] in ZERO_SHOT["labels"]  # type: ignore[operator]


@pytest.mark.parametrize("form", ["jsonl", "coco", "label-studio"])
def test_results_of_a_job_have_a_path_a_form(server: Server, png: bytes, form: str, check_problem: Any) -> None:
    job = server.client.post("/v1/jobs/upload", files={"file": ("a.png", png)}, data={"task": "segmentation"}).json()
    place = f"/v1/jobs/{job['id']}"
    server.client.get(f"{place}/events")  # it ends with the job
    alone = server.client.get(f"{place}/results/{form}")
    assert alone.status_code == 200, alone.text
    assert alone.content == server.client.get(f"{place}/results", params={"format": form}).content
    addressed = server.client.get(f"{place}/results/{form}", params={"image_prefix": "/data/"})
    if form == "label-studio":
        assert addressed.json()[0]["data"]["image"] == "/data/a.png"
    else:
        check_problem(addressed, 422, "invalid-input")
    check_problem(server.client.get(f"{place}/results/openpose"), 422, "invalid-input")
    assert server.client.delete(place).status_code == 204


def test_a_prefix_is_offered_where_there_are_addresses() -> None:
    paths = json.loads(COMMITTED.read_text(encoding="utf-8"))["paths"]
    prefixed = [
        path
        for path, methods in paths.items()
        for operation in methods.values()
        if "image_prefix" in [parameter["name"] for parameter in operation.get("parameters", ())]
    ]
    assert prefixed == ["/v1/jobs/{job}/results/label-studio"]


def test_requests_of_an_operation_are_counted_as_those_of_its_route(server: Server, png: bytes) -> None:
    server.client.post("/v1/depth/upload", files={"image": png})
    metrics = server.client.get("/metrics").text
    assert 'task="depth"' in metrics
    assert "depth:upload" not in metrics
