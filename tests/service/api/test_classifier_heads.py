"""The released heads as classifiers over REST and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from service.library.classifiers import as_tensors, from_file
from service.library.store import pack, unpack
from tests.diffsight.command import diffsight
from tests.service.api.test_classifiers import PARTS, ROUTE, digits, fit_classifier, form

if TYPE_CHECKING:
    from tests.conftest import Server

SMALL = {"width": 16, "attention_heads": 2, "depth": 1, "epochs": 20}
ATTENTION = {
    "head": "attention",
    "head_options": json.dumps(SMALL),
    "blocks": "mid_block",
    "timesteps": "20",
}


@pytest.fixture(scope="module")
def attention_classifier(server: Server) -> dict[str, Any]:
    return fit_classifier(server, digits(4, 2), **ATTENTION)


def answers(server: Server, classifier: str) -> list[tuple[str, float]]:
    files = [("image", data) for _, data in digits(2, 2, held_out=True)]
    answers = server.client.post(f"/v1/classify/{classifier}", files=files).json()["answers"]
    assert all(answer["known"] is None for answer in answers)
    return [(answer["label"], answer["probability"]) for answer in answers]


def test_a_released_head_is_fitted_described_and_used(server: Server, attention_classifier: dict[str, Any]) -> None:
    assert attention_classifier["head"] == "attention"
    assert attention_classifier["head_options"] == {"hidden": [2048], **SMALL}
    assert (attention_classifier["strength"], attention_classifier["tried"], attention_classifier["threshold"]) == (
        None,
        [],
        None,
    )
    assert attention_classifier["validated"] == 8
    assert np.array(attention_classifier["confusion"]).sum() == 8
    (listed,) = [
        classifier
        for classifier in server.client.get(ROUTE).json()["classifiers"]
        if classifier["id"] == attention_classifier["id"]
    ]
    assert listed["head"] == "attention"
    assert {label for label, _ in answers(server, attention_classifier["id"])} <= {"zero", "one"}


def test_a_head_whose_training_would_fill_the_memory_is_refused_before_any_work(server: Server) -> None:
    sent = form(digits(2, 2))
    wide = {**sent["data"], "head": "attention", "blocks": "mid_block", "head_options": '{"width": 4096}'}
    refused = server.client.post(ROUTE, files=sent["files"], data=wide)
    assert (refused.status_code, refused.json()["field"]) == (422, "head_options")
    assert "max_fit_bytes" in refused.json()["hint"]


def test_it_travels_and_grows(server: Server, attention_classifier: dict[str, Any]) -> None:
    file = server.client.get(f"{ROUTE}/{attention_classifier['id']}/export").content
    taken = server.client.post(f"{ROUTE}/import", content=file, headers=PARTS)
    assert taken.status_code == 201, taken.text
    assert answers(server, taken.json()["id"]) == answers(server, attention_classifier["id"])
    more = form(digits(5, 3)[8:])
    grown = server.client.patch(f"{ROUTE}/{taken.json()['id']}", files=more["files"], data=more["data"]).json()
    assert (grown["head"], len(grown["classes"])) == ("attention", 3)


def test_a_file_with_another_head_inside_is_refused(
    server: Server, attention_classifier: dict[str, Any], check_problem: Any
) -> None:
    about, tensors = unpack(server.client.get(f"{ROUTE}/{attention_classifier['id']}/export").content)
    classifier = from_file(about, tensors)
    good = as_tensors(classifier, examples=False)
    head = about["head"]
    bad = [
        ({**about, "head": {**head, "width": 4096}}, good),
        ({**about, "head": {**head, "width": 10**9}}, good),
        ({**about, "head": {**head, "attention_heads": 3}}, good),
        ({**about, "head": {**head, "kind": "mlp"}}, good),
        (about, {name: tensor for name, tensor in good.items() if name != "head.head.bias"}),
        (about, {**good, "head.head.bias": np.full_like(good["head.head.bias"], np.nan)}),
        ({**about, "head": None}, good),
    ]
    for metadata, numbers in bad:
        response = server.client.post(f"{ROUTE}/import", content=pack(metadata, numbers), headers=PARTS)
        check_problem(response, 422, "invalid-input")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "fusion"}, "fusion several of either"),
        ({"blocks": ["1", "2"]}, "attention reads one block"),
        ({"pool_size": "64"}, "cells a side"),
        ({"head_options": '{"width": 15, "attention_heads": 2}'}, "do not divide"),
        ({"head_options": '{"width": 0}'}, "greater than or equal to 1"),
        ({"head_options": '{"layers": 2}'}, "Unknown field"),
        ({"head": "logistic"}, "has no options"),
        ({"head": "cnn"}, "Input should be"),
    ],
)
def test_invalid_options_of_a_head_are_refused(
    server: Server, check_problem: Any, options: dict[str, Any], message: str
) -> None:
    request = form(digits(1, 2))
    data = {**request["data"], **ATTENTION, **options}
    problem = check_problem(server.client.post(ROUTE, files=request["files"], data=data), 422, "invalid-input")
    assert message in " ".join([problem["detail"], problem["hint"], *(error["msg"] for error in problem["errors"])])


@pytest.mark.slow
def test_the_command_line_fits_one_too(tmp_path: Path) -> None:
    for place, (name, data) in enumerate(digits(2, 2)):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name / f"{place}.png").write_bytes(data)
    out = tmp_path / "out.safetensors"
    options = ["--head", "mlp", "--hidden", "8", "--epochs", "4", "--json"]
    done = diffsight("fit", "classifier", tmp_path / "in", "--out", out, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["head"]["kind"] == "mlp"
    image = next((tmp_path / "in").rglob("*.png"))
    printed = diffsight("predict", "classifier", image, "--classifier", out, "--json")
    assert json.loads(printed.stdout)["answers"][0]["label"] in ("zero", "one")
