"""POST /v1/classify/label-tree on the real server."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

ROUTE = "/v1/classify/label-tree"
TREE = {"small": {"zero": [], "one": []}, "large": ["eight", "nine"]}


def request_body(png: bytes, **options: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(png).decode(), "tree": TREE, "confidence": 0.6, "budget": 120, **options}


def test_the_descent_is_reported_race_by_race(server: Server, png: bytes) -> None:
    response = server.client.post(ROUTE, json=request_body(png))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["label"] == answer["path"][-1]
    assert answer["path"][0] in TREE
    assert answer["rows"] == sum(level["rows"] for level in answer["levels"]) <= 120
    for depth, level in enumerate(answer["levels"]):
        assert level["under"] == answer["path"][:depth]
        assert level["label"] == answer["path"][depth]
        assert sum(entry["probability"] for entry in level["posterior"]) == pytest.approx(1)
    if answer["complete"]:
        assert answer["label"] in {"zero", "one", "eight", "nine"}
    assert answer["stopped"] in ("decided", "budget")


def test_forms_and_streams_give_the_same_answer(server: Server, png: bytes) -> None:
    body = request_body(png)
    answer = server.client.post(ROUTE, json=body).json()
    form = {"tree": json.dumps(TREE), "confidence": "0.6", "budget": "120"}
    same = server.client.post(ROUTE, files={"image": png}, data=form).json()
    stream = server.client.post(ROUTE, json=body, headers={"Accept": "text/event-stream"})
    parts = [part.split("\n") for part in stream.text.strip().split("\n\n")]
    events = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]
    assert [name for name, _ in events] == ["progress"] * (len(events) - 1) + ["answer"]
    for other_answer in (same, events[-1][1]):
        assert {**other_answer, "timing": None} == {**answer, "timing": None}
    assert [data["rows"] for _, data in events] == sorted(data["rows"] for _, data in events)


def test_thousands_of_labels_are_taken(server: Server, png: bytes) -> None:
    tree = {
        f"{ten} {hundred}": [f"{ten} {hundred} {index}" for index in range(100)] for ten in "ab" for hundred in "abcde"
    }
    answer = server.client.post(ROUTE, json=request_body(png, tree={"a": tree, "b": ["c", "d"]}, budget=8)).json()
    assert (answer["rows"], answer["complete"]) == (8, False)


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"tree": {}}, "tree", "no labels"),
        ({"tree": "cat"}, "tree", "object"),
        ({"tree": {"animal": 3}}, "tree", "animal has '3' below it"),
        ({"tree": {"animal": [""]}}, "tree", "empty label"),
        ({"tree": ["cat", "cat"]}, "tree", "twice"),
        ({"tree": [f"label {index}" for index in range(501)]}, "tree", "501 labels right below it"),
        ({"tree": {"cat": ["a"], "CAT": ["b"]}}, "tree", "same text"),
        ({"tree": {"animal": ["cat " * 90, "dog"]}}, "tree", "tokens"),
        ({"budget": 3}, "budget", "one block of 4"),
        ({"confidence": 0}, "confidence", "greater than 0"),
        ({"labels": ["cat"]}, "labels", "Unknown field"),
        ({"templates": ["none"]}, "templates", "pattern"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    server: Server, png: bytes, check_problem: Any, options: dict[str, Any], field: str, message: str
) -> None:
    problem = check_problem(server.client.post(ROUTE, json=request_body(png, **options)), 422, "invalid-input")
    assert any(str(error["loc"][0]) == field for error in problem["errors"]), problem
    assert message in " ".join([problem["detail"], problem["hint"], *(error["msg"] for error in problem["errors"])])


def test_the_limit_of_labels_is_reported(start_server: StartServer, png: bytes, check_problem: Any) -> None:
    small = start_server(limits={"max_tree_labels": 5})
    problem = check_problem(small.client.post(ROUTE, json=request_body(png)), 422, "invalid-input")
    assert "more than 5 labels" in problem["detail"]
