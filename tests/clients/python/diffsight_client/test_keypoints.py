"""Persons as annotations of COCO, against the server's own, and as key points of supervision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffsight_client import Client
from diffsight_client.models import PoseAnswer
from playground.state import SAMPLES
from tests.conftest import Server

PERSONS = SAMPLES / "two-persons.png"


@pytest.fixture(scope="module")
def answer(server: Server) -> PoseAnswer:
    with Client(server.url) as client:
        return client.pose(PERSONS)


def test_annotations_are_those_of_the_server(server: Server, answer: PoseAnswer) -> None:
    with Client(server.url) as client:
        own = client.pose_coco(PERSONS, keypoint_threshold=0.3)
    assert len(own.annotations) == 2
    assert answer.to_coco(threshold=0.3) == approximately(own.annotations)
    assert own.categories == [answer.coco_category()]


def test_annotations_of_a_job_are_those_of_its_export(server: Server, answer: PoseAnswer, tmp_path: Path) -> None:
    with Client(server.url) as client:
        job = client.begin_job("pose", [PERSONS], parameters={"keypoint_threshold": 0.3})
        job.wait()
        exported = json.loads(job.download(tmp_path / "coco.json", format="coco").read_text())
        job.delete()
    assert answer.to_coco(threshold=0.3) == approximately(exported["annotations"])


def test_points_are_an_array(answer: PoseAnswer) -> None:
    points = answer.to_numpy()
    assert points.shape == (2, 17, 3)
    assert points.dtype == np.float32
    assert points[1, 3, :2].tolist() == pytest.approx(answer.persons[1].keypoints[3])
    nobody = answer.model_copy(update={"persons": []})
    assert nobody.to_numpy().shape == (0, 17, 3)
    assert nobody.to_coco() == []


def test_points_are_those_of_supervision(answer: PoseAnswer) -> None:
    supervision = pytest.importorskip("supervision")
    points = answer.to_supervision()
    assert isinstance(points, supervision.KeyPoints)
    assert points.xy.shape == (2, 17, 2)
    assert points.xy[0, 0].tolist() == pytest.approx(answer.persons[0].keypoints[0])
    drawn = supervision.EdgeAnnotator(edges=answer.supervision_edges()).annotate(
        np.zeros((128, 128, 3), np.uint8), points
    )
    assert drawn.any()


def approximately(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations, their numbers as they may differ between two runs of the device."""
    return [
        {
            name: pytest.approx(value, abs=1e-3) if isinstance(value, float | list) else value
            for name, value in annotation.items()
        }
        for annotation in annotations
    ]
