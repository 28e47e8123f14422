"""The display of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playground.panels.jobs import picture_of_failure, same_job, show_job
from playground.state import SAMPLES
from tests.conftest import Server
from tests.playground.walking import run_shown

JOB: dict[str, Any] = {
    "id": "abc",
    "task": "depth",
    "status": "running",
    "total": 4,
    "done": 1,
    "failed": 1,
    "seconds_left": 3.0,
    "images_per_second": 2.0,
    "error": "",
}


def test_a_job_says_how_far_it_is() -> None:
    shown = show_job(JOB, [{"image_name": "a<b>.png", "error": "no image"}])
    assert "running: 1 of 4 images, 1 failed, 2.0 a second, about 3 s left" in shown
    assert 'aria-valuenow="2"' in shown
    assert "a&lt;b&gt;.png" in shown
    assert "1 of ? images" in show_job(JOB | {"total": None})
    assert "the weights" in show_job(JOB | {"error": "the weights are gone"})


def test_an_image_that_failed_has_a_picture_also_if_it_cannot_be_read(tmp_path: Path) -> None:
    damaged = tmp_path / "a.png"
    damaged.write_bytes(b"no picture")
    assert picture_of_failure(str(SAMPLES / "seven.png")).size != (128, 128)
    assert picture_of_failure(str(damaged)).size == picture_of_failure(None).size == (128, 128)


def test_the_commands_begin_the_same_job() -> None:
    curl, python = same_job("http://host", ["/tmp/a.png"], "pose", {"flip_test": True}, keyed=False)
    assert 'parameters={"flip_test": true}' in curl
    assert 'client.begin_job("pose", ["a.png"], parameters={"flip_test": True})' in python
    assert "answer.wait(progress=True)" in python


def test_the_python_of_a_job_runs(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SAMPLES)
    _, python = same_job(server.url, ["/tmp/seven.png"], "features", {}, keyed=False)
    run_shown(python)
    assert "status='done'" in capsys.readouterr().out
