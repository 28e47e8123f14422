"""A new task is one file and one entry in a tuple: every reader of tasks then serves it under one name."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import validate
from PIL import Image
from typer.testing import CliRunner

from diffsight.cli.task_command import make_group
from service.tasks import TASKS
from tests.conftest import Server, running_server
from tests.service.mean_colour import MEAN_COLOUR

NAME = "mean-colour"
TASKS_WITH_TRIAL = (*TASKS, MEAN_COLOUR)
LEVELS = 6
CHANNELS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def trial_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all tasks and the new one, with a database of its own."""
    with running_server(tasks=TASKS_WITH_TRIAL, data_folder=tmp_path_factory.mktemp("data")) as running:
        assert running.state.models.failure is None
        yield running


@pytest.fixture(scope="module")
def expected_colour(picture: Image.Image) -> list[float]:
    """The picture's mean colour in steps of a fifth."""
    steps = (np.asarray(picture).mean(axis=(0, 1)) / 255 * (LEVELS - 1)).round()
    return [float(value) for value in steps / (LEVELS - 1)]


def colour_of(answer: dict[str, Any]) -> list[float]:
    return [answer[channel] for channel in CHANNELS]


def test_the_route_reads_all_three_forms_of_a_body(
    trial_server: Server, png: bytes, expected_colour: list[float]
) -> None:
    bodies: list[dict[str, Any]] = [
        {"files": {"image": ("picture.png", png)}, "data": {"levels": LEVELS}},
        {"json": {"image": base64.b64encode(png).decode(), "levels": LEVELS}},
        {"content": png, "headers": {"Content-Type": "image/png"}, "params": {"levels": LEVELS}},
    ]
    for body in bodies:
        response = trial_server.client.post(f"/v1/{NAME}", **body)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert colour_of(answer) == pytest.approx(expected_colour)
        assert (answer["image"]["width"], answer["image"]["height"], answer["rows"]) == (40, 30, 0)


def test_the_route_refuses_what_the_options_do_not_allow(trial_server: Server, png: bytes, check_problem: Any) -> None:
    sent: dict[str, Any] = {"content": png, "headers": {"Content-Type": "image/png"}}
    check_problem(trial_server.client.post(f"/v1/{NAME}", params={"levels": 1}, **sent), 422, "invalid-input")
    problem = check_problem(trial_server.client.post(f"/v1/{NAME}", params={"level": 4}, **sent), 422, "invalid-input")
    assert "levels" in problem["hint"]


def test_the_form_is_a_plain_picture(trial_server: Server, png: bytes, expected_colour: list[float]) -> None:
    choices: list[dict[str, Any]] = [{"params": {"format": "png"}}, {"headers": {"Accept": "image/png"}}]
    for choice in choices:
        response = trial_server.client.post(f"/v1/{NAME}", files={"image": png}, data={"levels": LEVELS}, **choice)
        assert response.headers["content-type"] == "image/png"
        pixels = np.asarray(Image.open(BytesIO(response.content)))
        assert pixels.shape == (30, 40, 3)
        assert (pixels == np.rint(np.multiply(expected_colour, 255))).all()


def test_a_job_runs_it_on_each_image(trial_server: Server, png: bytes, expected_colour: list[float]) -> None:
    request = {"task": NAME, "parameters": json.dumps({"levels": LEVELS})}
    job = trial_server.client.post("/v1/jobs", data=request, files={"file": ("a.png", png)}).json()
    assert job["parameters"] == {"levels": LEVELS}
    assert job["formats"] == ["jsonl"]
    events = trial_server.client.get(f"/v1/jobs/{job['id']}/events").text
    assert '"status":"done"' in events
    result = json.loads(trial_server.client.get(f"/v1/jobs/{job['id']}/results").text)
    assert colour_of(result) == pytest.approx(expected_colour)
    assert result["image"] == {"width": 40, "height": 30}


def test_perceive_runs_it_beside_another_task(trial_server: Server, png: bytes, expected_colour: list[float]) -> None:
    tasks = {NAME: {"levels": LEVELS}, "features": {}}
    answer = trial_server.client.post(
        "/v1/perceive", json={"image": base64.b64encode(png).decode(), "tasks": tasks}
    ).json()
    assert colour_of(answer[NAME]) == pytest.approx(expected_colour)
    assert len(answer["features"]["vectors"]) == 1


def test_a_command_runs_it_without_a_server(
    png: bytes, expected_colour: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFSIGHT_ENGINE__TORCH_THREADS", "1")
    image, out = tmp_path / "photo.png", tmp_path / "swatch.png"
    image.write_bytes(png)
    group = make_group(TASKS_WITH_TRIAL)
    arguments = [NAME, str(image), "--levels", str(LEVELS), "--png", str(out), "--device", "cpu"]
    done = CliRunner().invoke(group, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert colour_of(answer) == pytest.approx(expected_colour)
    assert answer["files"] == [str(out)]
    with Image.open(out) as written:
        assert written.size == (40, 30)
    line = CliRunner().invoke(group, arguments, catch_exceptions=False).stdout
    assert line.startswith(f"{image}: #")
    shown = CliRunner().invoke(group, [NAME, "--help"], catch_exceptions=False).stdout
    assert "Steps that each channel is rounded to." in shown


def test_the_server_lists_that_it_serves_it(trial_server: Server) -> None:
    (described,) = [task for task in trial_server.client.get("/v1/models").json()["tasks"] if task["task"] == NAME]
    assert described["route"] == f"/v1/{NAME}"
    assert described["formats"] == ["json", "png"]
    assert described["defaults"] == {"levels": 256}


def test_the_document_describes_it(trial_server: Server) -> None:
    document = trial_server.client.get("/openapi.json").json()
    validate(document)
    operation = document["paths"][f"/v1/{NAME}"]["post"]
    assert operation["requestBody"]["content"].keys() == {"multipart/form-data", "application/json"}
    assert operation["responses"]["200"]["content"].keys() == {"application/json"}
    picture = document["paths"][f"/v1/{NAME}/png"]["post"]["responses"]["200"]["content"]
    assert "image/png" in picture
    properties = document["components"]["schemas"]["MeanColourRequest"]["properties"]
    assert (properties["levels"]["minimum"], properties["levels"]["maximum"]) == (2, 256)
    perceive = document["components"]["schemas"]["PerceiveRequest"]["properties"]["tasks"]
    assert NAME in json.dumps(perceive)


def test_metrics_count_it_under_its_name(trial_server: Server, png: bytes) -> None:
    trial_server.client.post(f"/v1/{NAME}", files={"image": png})
    metrics = trial_server.client.get("/metrics").text
    assert f'diffsight_requests_total{{code="200",task="{NAME}"}}' in metrics
    assert NAME.replace("-", "_") not in metrics
