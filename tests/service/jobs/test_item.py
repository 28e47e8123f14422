"""Every task as a job on the real server gives what its route gives, and masks load as COCO."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Server, StartServer
from tests.service.api.test_jobs import begin, results, wait_for_end
from tests.service.jobs.formats.finished_jobs import load_coco
from tests.service.library.test_few_shot import mask, picture, supports

PICTURES = {"a.png": picture(1), "b.png": picture(2, 50, 70), "c.png": picture(3)}


@pytest.fixture(scope="module")
def full_server(
    start_server: StartServer,
    heads_folder: Path,
    weights: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    """A server with a head for each task but pose."""
    names = ("depth", "segmentation", "referring")
    running = start_server(
        heads={name: str(heads_folder / f"{name}.safetensors") for name in names},
        few_shot={"weights": str(weights)},
        data_folder=tmp_path_factory.mktemp("data"),
        jobs={"poll_seconds": 0.1},
    )
    assert running.state.models.failure is None
    return running


def run_job(server: Server, task: str, parameters: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """The job's id and its lines, in the order of PICTURES."""
    files = [("file", (name, data)) for name, data in PICTURES.items()]
    job = begin(server, data={"task": task, "parameters": json.dumps(parameters)}, files=files)["id"]
    end = wait_for_end(server, job)
    assert (end["status"], end["done"], end["failed"]) == ("done", len(PICTURES), 0), end
    lines = results(server, job)
    assert [line["image_name"] for line in lines] == list(PICTURES)
    return job, lines


def form(server: Server, job: str, name: str) -> bytes:
    response = server.client.get(f"/v1/jobs/{job}/results", params={"format": name})
    assert response.status_code == 200, response.text
    return response.content


# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def same_masks(mine: dict[str, Any], route: dict[str, Any]) -> None:
    from heads.outputs import Rle, decode_rle

    assert mine["name"] == route["name"]
    # A pixel on the edge of a mask may differ in another batch.
    first, other = (decode_rle(Rle(**mask["rle"])) for mask in (mine, route))
    assert (first != other).mean() < 0.005
    assert mine["area"] == first.sum()


def test_depth(full_server: Server) -> None:
    job, lines = run_job(full_server, "depth", {"flip": False})
    alone = full_server.client.post("/v1/depth", files={"image": PICTURES["b.png"]}).json()
    assert lines[1]["statistics"] == pytest.approx(alone["statistics"], rel=1e-3, abs=1e-3)
    with zipfile.ZipFile(io.BytesIO(form(full_server, job, "png"))) as archive:
        assert archive.namelist() == ["a.png.png", "b.png.png", "c.png.png"]
        units = np.asarray(Image.open(io.BytesIO(archive.read("b.png.png")))).astype(int)
    expected = np.asarray(Image.open(io.BytesIO(base64.b64decode(alone["png16"])))).astype(int)
    assert np.abs(units - expected).max() <= 2
    with zipfile.ZipFile(io.BytesIO(form(full_server, job, "npy"))) as archive:
        np.testing.assert_allclose(np.load(archive.open("b.png.npy")), units / 1000, rtol=1e-6)
    _, without = run_job(full_server, "depth", {"maps": False})
    assert "png16" not in without[0]
    assert without[1]["statistics"] == pytest.approx(alone["statistics"], rel=1e-3, abs=1e-3)


def test_segmentation(full_server: Server, tmp_path: Path) -> None:
    job, lines = run_job(full_server, "segmentation", {})
    alone = full_server.client.post("/v1/segmentation", files={"image": PICTURES["b.png"]}).json()
    by_name = {segment["name"]: segment for segment in alone["segments"]}
    large = [mask for mask in lines[1]["masks"] if mask["share"] > 0.05]
    assert large
    for entry in large:
        same_masks(entry, by_name[entry["name"]])
        assert alone["classes"][entry["category_id"] - 1] == entry["name"]
    coco = load_coco(form(full_server, job, "coco"), tmp_path)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == list(PICTURES)
    for image, line in zip(coco.loadImgs(coco.getImgIds()), lines, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert sum(coco.annToMask(annotation).sum() for annotation in annotations) == image["width"] * image["height"]
        assert [annotation["category_id"] for annotation in annotations] == [
            mask["category_id"] for mask in line["masks"]
        ]


def test_referring(full_server: Server, tmp_path: Path) -> None:
    expressions = ["a two", "the digit three"]
    options = {"expressions": expressions, "threshold": 0.4}
    job, lines = run_job(full_server, "referring", options)
    path = "/v1/segmentation/referring"
    alone = full_server.client.post(path, files={"image": PICTURES["c.png"]}, data=options).json()
    for mine, route in zip(lines[2]["masks"], alone["masks"], strict=True):
        same_masks(mine, route)
        assert mine["read"] == route["read"]
    coco = load_coco(form(full_server, job, "coco"), tmp_path)
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == set(expressions)


def test_a_concept_over_a_folder(full_server: Server, tmp_path: Path, check_problem: Any) -> None:
    made = full_server.client.post("/v1/concepts", json={"name": "square", **supports(7)}).json()
    options = {"concepts": [made["id"]]}
    job, lines = run_job(full_server, "few-shot", options)
    route = "/v1/segmentation/few-shot"
    alone = full_server.client.post(route, files={"image": PICTURES["b.png"]}, data=options).json()["concepts"][0]
    (mine,) = lines[1]["masks"]
    same_masks(mine, alone["mask"])
    assert mine["presence"] == pytest.approx(alone["presence"], rel=1e-2)
    coco = load_coco(form(full_server, job, "coco"), tmp_path)
    (category,) = coco.loadCats(coco.getCatIds())
    assert (category["id"], category["name"]) == (1, "square")
    # A changed concept is another key: results of the old concept are not used for it.
    assert full_server.client.patch(f"/v1/concepts/{made['id']}", json=supports(8)).status_code == 200
    files = {"file": ("a.png", PICTURES["a.png"])}
    again = begin(full_server, data={"task": "few-shot", "parameters": json.dumps(options)}, files=files)
    assert wait_for_end(full_server, again["id"])["reused"] == 0
    unknown = {"task": "few-shot", "parameters": json.dumps({"concepts": ["nothing"]})}
    refused = full_server.client.post("/v1/jobs", data=unknown, files={"file": ("a.png", PICTURES["a.png"])})
    check_problem(refused, 404, "nothing-stored")


def test_a_fitted_classifier(full_server: Server) -> None:
    images = [("image", picture(seed)) for seed in range(4)] + [("image", mask(40 + seed, 50)) for seed in range(4)]
    labels = ["square"] * 4 + ["mask"] * 4
    made = full_server.client.post("/v1/classifiers", files=images, data={"labels": labels, "name": "two"}).json()
    _, lines = run_job(full_server, "classifier", {"classifier": made["id"], "top": 1})
    alone = full_server.client.post(f"/v1/classify/{made['id']}", files={"image": PICTURES["b.png"]}).json()
    (expected,) = alone["answers"]
    assert lines[1]["label"] == expected["label"]
    assert lines[1]["probability"] == pytest.approx(expected["probability"], abs=1e-3)
    assert len(lines[1]["scores"]) == 1


def test_zero_shot(full_server: Server) -> None:
    options = {"labels": ["a two", "a seven"]}
    _, lines = run_job(full_server, "zero-shot", options)
    alone = full_server.client.post("/v1/classify/zero-shot", files={"image": PICTURES["b.png"]}, data=options).json()
    assert lines[1]["label"] == alone["label"]
    first, other = (
        {entry["label"]: entry["probability"] for entry in answer["posterior"]} for answer in (lines[1], alone)
    )
    assert first == pytest.approx(other, abs=1e-2)


NEEDS = [("referring", "expressions"), ("few-shot", "concepts"), ("classifier", "classifier")]


@pytest.mark.parametrize(("task", "field"), NEEDS)
def test_a_missing_option_is_reported(full_server: Server, check_problem: Any, task: str, field: str) -> None:
    response = full_server.client.post("/v1/jobs", data={"task": task}, files={"file": ("a.png", PICTURES["a.png"])})
    assert check_problem(response, 422, "invalid-input")["field"] == field
