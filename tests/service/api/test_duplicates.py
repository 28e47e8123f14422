"""GET /v1/jobs/{job}/duplicates: groups among the images of a finished job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.service.conftest import encode_image

if TYPE_CHECKING:
    from tests.conftest import Server


@pytest.fixture(scope="module")
def job_ids(server: Server, picture: Image.Image) -> dict[str, str]:
    """A finished job of vectors, of three images of which two are one picture, and one of something else."""
    other = encode_image(picture.rotate(180), "PNG")
    files = [("a.png", encode_image(picture, "PNG")), ("b.bmp", encode_image(picture, "BMP")), ("c.png", other)]
    addresses = {}
    for task, parameters in (("features", {"noise_samples": 0}), ("depth", {"maps": False})):
        data = {"task": task, "parameters": json.dumps(parameters)}
        job = server.client.post("/v1/jobs", data=data, files=[("file", file) for file in files]).json()
        server.client.get(f"/v1/jobs/{job['id']}/events")  # it ends with the job
        addresses[task] = f"/v1/jobs/{job['id']}/duplicates"
    return addresses


def test_copies_are_a_group_however_they_were_saved(server: Server, job_ids: dict[str, str]) -> None:
    answer = server.client.get(job_ids["features"]).json()
    assert answer["images"] == 3
    assert [[copy["image"] for copy in group] for group in answer["groups"]] == [["a.png", "b.bmp"]]
    assert answer["groups"][0][1]["similarity"] == pytest.approx(1)


def test_a_low_similarity_joins_everything(server: Server, job_ids: dict[str, str]) -> None:
    answer = server.client.get(job_ids["features"], params={"similarity": -1, "index": "exact"}).json()
    assert [len(group) for group in answer["groups"]] == [3]


def test_a_job_without_vectors_is_refused(server: Server, job_ids: dict[str, str], check_problem: Any) -> None:
    check_problem(server.client.get(job_ids["depth"]), 422, "invalid-input")
    check_problem(server.client.get("/v1/jobs/nothing/duplicates"), 404, "nothing-stored")
