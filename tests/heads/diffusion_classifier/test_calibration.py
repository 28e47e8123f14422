"""Fitted temperatures: which answers they apply to, and which files are refused."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from backbones.errors import InvalidInput
from heads.diffusion_classifier.calibration import Calibration, ScoringMethod, fit_temperature_of, read_calibration
from heads.diffusion_classifier.zero_shot import TASK
from service.jobs.parameters import complete_parameters

if TYPE_CHECKING:
    from tests.conftest import Server, StartServer

ROUTE = "/v1/classify/zero-shot"
SCHEDULE = ScoringMethod(scheme="schedule", schedule="default")
RACE = ScoringMethod(scheme="race", confidence=0.6, combine="mean")


def calibration(revision: str) -> Calibration:
    """Temperatures of two losses, fitted to two images a label."""
    logits = np.array([[0.0, -8.0], [-3.0, 0.0], [0.0, -5.0], [0.0, -6.0]])
    truth = np.array([0, 1, 0, 1])
    return Calibration(
        created=datetime.now(UTC),
        backbone="pocket",
        revision=revision,
        labels=("zero", "one"),
        templates=("a handwritten {}",),
        images=4,
        fits=(fit_temperature_of(SCHEDULE, logits, truth, 100.0), fit_temperature_of(RACE, logits / 2, truth, 50.0)),
    )


@pytest.fixture(scope="module")
def calibrated_server(server: Server, start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with temperatures for its own weights."""
    file = tmp_path_factory.mktemp("calibration") / "zero-shot.json"
    file.write_text(calibration(server.state.models.backbone.revision).model_dump_json())
    return start_server(zero_shot_calibration=file)


def calibration_of(server: Server) -> Calibration | None:
    """The calibration that a server answers with."""
    calibration: Calibration | None = server.state.models.get_open(TASK).head.calibration
    return calibration


def request_body(png: bytes, **options: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(png).decode(), "labels": ["zero", "one"], **options}


def test_the_fit_lowers_the_log_loss_and_claims_what_is_right() -> None:
    fit = calibration("any").fits[0]
    assert fit.accuracy == 0.75
    assert fit.log_loss < fit.log_loss_before
    assert abs(fit.claimed - fit.accuracy) < abs(fit.claimed_before - fit.accuracy)


def test_a_fit_to_scaled_logits_is_scaled() -> None:
    schedule, race = calibration("any").fits
    assert race.temperature == pytest.approx(schedule.temperature / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("options", "fit", "holds"),
    [
        ({}, 0, True),
        ({"schedule": "default"}, 0, True),
        ({"confidence": 0.6}, 1, True),
        ({"loss": "l1"}, None, False),
        ({"schedule": {"n_samples": [2], "to_keep": [1]}}, None, False),
        ({"trials": 2}, None, False),
        ({"confidence": 0.7}, None, False),
        ({"confidence": 0.6, "indifference": 1.0}, None, False),
        ({"confidence": 0.6, "budget": 4}, 1, False),
    ],
)
def test_an_answer_is_calibrated_where_it_was_found_as_the_fit_was(
    calibrated_server: Server, png: bytes, options: dict[str, Any], fit: int | None, holds: bool
) -> None:
    answer = calibrated_server.client.post(ROUTE, json=request_body(png, **options)).json()
    fits = calibration_of(calibrated_server)
    assert fits is not None
    assert answer["temperature"] == (1.0 if fit is None else fits.fits[fit].temperature)
    assert answer["calibrated"] is holds


def test_the_requests_own_temperature_comes_first(calibrated_server: Server, png: bytes) -> None:
    answer = calibrated_server.client.post(ROUTE, json=request_body(png, temperature=3.5)).json()
    assert (answer["temperature"], answer["calibrated"]) == (3.5, False)


def test_every_place_that_answers_zero_shot_says_so(calibrated_server: Server, png: bytes) -> None:
    seen = calibrated_server.client.post("/v1/perceive", json={**request_body(png), "tasks": ["zero_shot"]}).json()
    assert seen["zero_shot"]["calibrated"] is True
    (task,) = [
        task for task in calibrated_server.client.get("/v1/models").json()["tasks"] if task["task"] == "zero-shot"
    ]
    fits = calibration_of(calibrated_server)
    assert fits is not None
    assert (task["defaults"]["calibrated"], task["defaults"]["temperature"]) == (True, fits.fits[0].temperature)
    for options, temperature in (({}, fits.fits[0].temperature), ({"loss": "l1"}, 1.0)):
        parameters = asyncio.run(
            complete_parameters(calibrated_server.state, "zero-shot", {"labels": ["a"], **options})
        )
        assert parameters["temperature"] == temperature


def test_temperatures_of_other_weights_are_an_error_at_start_up(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(calibration("other weights").model_dump_json())
    failed = start_server(zero_shot_calibration=file).state.models.failure
    assert isinstance(failed, InvalidInput)
    assert "fit it again" in str(failed)


def test_an_invalid_calibration_is_reported_with_its_place(tmp_path: Path) -> None:
    good = json.loads(calibration("any").model_dump_json())
    bad = {
        "missing.json": None,
        "text.json": "no JSON",
        "empty.json": "{}",
        "list.json": "[]",
        "no fits.json": json.dumps({**good, "fits": []}),
        "cold.json": json.dumps({**good, "fits": [{**good["fits"][0], "temperature": 0}]}),
        "newer.json": json.dumps({**good, "version": 2}),
        "more.json": json.dumps({**good, "more": 1}),
    }
    for name, text in bad.items():
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        with pytest.raises(InvalidInput, match=name):
            read_calibration(file)
