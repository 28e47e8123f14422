"""`diffsight annotate --ray` without a cluster: what it refuses, and what it writes of a finished job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backbones.errors import InvalidInput
from diffsight.cli import app
from diffsight.cli.annotate_ray import annotate_on_cluster
from service.jobs.records import Outcome
from service.jobs.sources import Source, guess
from service.settings.loader import load_settings
from tests.service.jobs.conftest import write_pictures

pytest.importorskip("pyarrow", reason="the extra `ray` is not installed")

from service.cluster.parts import JobWeights, Order, PartFolder

NO_CLUSTER = "10.255.255.1:1"


def write_finished_job(tmp_path: Path, *, failed: int) -> tuple[Path, Path]:
    """A source of five pictures, and the folder of its finished job, in which the image `failed` has failed."""
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    write_pictures(pictures, 5)
    folder = PartFolder(out)
    order = folder.begin(Order("features", [], guess(str(pictures)).model_dump(mode="json"), 2))
    folder.agree(JobWeights("pocket", "1", {}))
    for part in range(order.parts):
        items = folder.items(part)
        outcomes = [
            Outcome(item.position, error="torn")
            if item.position == failed
            else Outcome(item.position, "k", f'{{"vector":[{item.position}]}}')
            for item in items
        ]
        folder.write(part, items, outcomes)
    return pictures, out


def give(source: Path, out: Path, *more: str) -> Any:
    """The command's end."""
    words = ["annotate", str(source), "--task", "features", "--out", str(out), "--ray", NO_CLUSTER, *more]
    return CliRunner().invoke(app, words)


def test_a_job_that_is_done_is_written_in_a_form_without_a_cluster(tmp_path: Path) -> None:
    pictures, out = write_finished_job(tmp_path, failed=-1)
    assert "5 images, 0 failed" in give(pictures, out, "--format", "jsonl").output
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["vector"] for line in lines] == [[0], [1], [2], [3], [4]]


def test_the_folder_of_another_command_is_refused(tmp_path: Path) -> None:
    _, out = write_finished_job(tmp_path, failed=-1)
    error = give(tmp_path / "pictures/even", out).exception
    assert isinstance(error, InvalidInput)
    assert "another command" in str(error)


def test_a_video_is_refused(tmp_path: Path) -> None:
    source = Source(kind="video", address=str(tmp_path / "a.mp4"))
    with pytest.raises(InvalidInput, match="frames of a video"):
        annotate_on_cluster(NO_CLUSTER, load_settings(), "features", [], source, tmp_path / "out")
