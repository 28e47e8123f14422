"""A class-conditional network as the served backbone: a label is a class of it, and every other task says why not."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from backbones.loading.dit import load_dit_folder
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import classify_anytime
from service.jobs.parameters import complete_parameters
from tests.backbones.small_models import save_small_dit
from tests.diffsight.command import diffsight

if TYPE_CHECKING:
    from PIL import Image

    from tests.conftest import Server, StartServer

ROUTE = "/v1/classify/zero-shot"
NAMES = {"0": "tench, Tinca tinca", "1": "crane", "2": "goldfish", "3": "crane", "4": "7"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of eight classes, five of them with names."""
    root = tmp_path_factory.mktemp("dit")
    save_small_dit(root, names=NAMES, classes=8)
    return root


@pytest.fixture(scope="module")
def class_server(start_server: StartServer, folder: Path) -> Server:
    server = start_server(backbone=str(folder))
    assert server.state.models.failure is None
    return server


def request_body(png: bytes, **options: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(png).decode(), "labels": ["goldfish", "tench", "5"], **options}


def test_classes_race_by_name_and_number(class_server: Server, folder: Path, png: bytes, picture: Image.Image) -> None:
    answer = class_server.client.post(ROUTE, json=request_body(png, confidence=1, budget=90)).json()
    engine = DirectEngine(load_dit_folder(folder))
    image = np.asarray(picture.convert("RGB"))
    assert {entry["label"] for entry in answer["posterior"]} == {"goldfish", "tench", "5"}
    assert (answer["templates"], answer["rows"], answer["backbone"]["name"]) == (["{}"], 90, folder.name)
    labels = ["GOLDFISH", "tinca TINCA", "5"]
    same = complete(classify_anytime(engine, image, labels, templates=("{}",), confidence=1, budget=Budget(rows=90)))
    errors = {entry["label"]: entry["mean_error"] for entry in answer["posterior"]}
    np.testing.assert_allclose(same.mean_errors, [errors[name] for name in ("goldfish", "tench", "5")], atol=1e-5)
    assert labels.index(same.label) == ["goldfish", "tench", "5"].index(answer["label"])


def test_labels_of_one_class_tie(class_server: Server, png: bytes) -> None:
    body = request_body(png, labels=["2", "goldfish", "tench"], schedule={"n_samples": [4], "to_keep": [1]})
    answer = class_server.client.post(ROUTE, json=body).json()
    assert answer["rows"] == 2 * 4
    probabilities = {entry["label"]: entry["probability"] for entry in answer["posterior"]}
    assert probabilities["2"] == probabilities["goldfish"]


def test_a_name_comes_before_a_number(class_server: Server, png: bytes) -> None:
    def error(label: str) -> float:
        body = request_body(png, labels=[label], schedule={"n_samples": [4], "to_keep": [1]})
        mean_error: float = class_server.client.post(ROUTE, json=body).json()["posterior"][0]["mean_error"]
        return mean_error

    # Class 4 is called 7.
    assert error("7") == error("4") != error("6")


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"labels": ["goldfisch"]}, "labels", "did you mean goldfish?"),
        ({"labels": ["8"]}, "labels", "no class of the network"),
        ({"labels": ["crane", "goldfish"]}, "labels", "several classes: 1 (crane), 3 (crane)"),
        ({"labels": ["-1"]}, "labels", "no class of the network"),
        ({"templates": ["a photo of a {}."]}, "templates", "classes and no text"),
    ],
)
def test_a_label_that_is_no_class_is_reported(
    class_server: Server, png: bytes, check_problem: Any, options: dict[str, Any], field: str, message: str
) -> None:
    problem = check_problem(class_server.client.post(ROUTE, json=request_body(png, **options)), 422, "invalid-input")
    assert problem["field"] == field
    assert message in f"{problem['detail']} {problem['hint']}"


def test_the_models_route_lists_its_classes_and_what_it_can_do(class_server: Server, folder: Path) -> None:
    models = class_server.client.get("/v1/models").json()
    backbone = models["backbone"]
    assert backbone["class_names"] == [NAMES.get(str(number), str(number)) for number in range(8)]
    assert (backbone["name"], backbone["num_class_labels"], backbone["max_tokens"]) == (folder.name, 8, 0)
    assert [task["task"] for task in models["tasks"]] == ["zero-shot", "label-tree"]
    assert models["tasks"][0]["defaults"]["templates"] == ["{}"]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/features", {"images": True}),
        ("/v1/match/image-text", {"images": True, "captions": ["a"]}),
        ("/v1/depth", {}),
        ("/v1/segmentation", {}),
        ("/v1/segmentation/referring", {"expressions": ["a"]}),
        ("/v1/pose", {}),
        ("/v1/perceive", {"tasks": ["features"]}),
        ("/v1/perceive", {"tasks": ["depth"]}),
        ("/v1/classify/label-tree", {"tree": {"animal": ["tench", "goldfish"], "thing": []}}),
    ],
)
def test_every_other_task_says_why_not(class_server: Server, png: bytes, route: str, body: dict[str, Any]) -> None:
    image = base64.b64encode(png).decode()
    sent = {**body, "images": [image]} if body.get("images") else {**body, "image": image}
    response = class_server.client.post(route, json=sent)
    assert 400 <= response.status_code < 500 or response.status_code == 503, response.text
    assert response.json()["hint"]


def test_classes_without_words_above_them_make_a_tree(class_server: Server, png: bytes) -> None:
    body = {"image": base64.b64encode(png).decode(), "tree": ["tench", "goldfish"], "budget": 20}
    answer = class_server.client.post("/v1/classify/label-tree", json=body).json()
    assert answer["path"][0] in ("tench", "goldfish")


def test_a_job_takes_labels_as_they_stand(class_server: Server) -> None:
    parameters = asyncio.run(complete_parameters(class_server.state, "zero-shot", {"labels": ["tench"]}))
    assert parameters["templates"] == ["{}"]


def test_heads_of_a_u_net_do_not_go_with_it(start_server: StartServer, folder: Path) -> None:
    failed = start_server(backbone=str(folder), heads={"depth": "some head"}).state.models.failure
    assert isinstance(failed, InvalidInput)
    assert failed.field == "heads.depth"


def test_the_command_line_uses_it(folder: Path, png: bytes, tmp_path: Path) -> None:
    image = tmp_path / "one.png"
    image.write_bytes(png)
    backbone = ("--backbone", folder)
    done = diffsight("predict", "zero-shot", image, "--labels", "tench,goldfish", "--budget", "20", "--json", *backbone)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("tench", "goldfish")
    refused = diffsight("predict", "features", image, "--npy", tmp_path / "x.npy", *backbone)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "name a Stable Diffusion" in line
