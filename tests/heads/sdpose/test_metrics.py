"""Evaluation rules at what the fixtures do not pin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heads.sdpose import metrics
from heads.sdpose.metrics import Prediction
from heads.sdpose.skeletons import COCO_17

SIGMAS = COCO_17.sigma_array()
POINTS = np.stack([np.linspace(20, 80, 17), np.linspace(10, 90, 17)], axis=1)


def prediction(id: int, shift: float = 0.0, score: float = 0.9, image_id: int = 1) -> Prediction:
    return Prediction(id, image_id, POINTS + shift, np.full(17, score), 1.0, 10_000.0)


def annotation(**changed: Any) -> dict[str, Any]:
    flat = np.concatenate([POINTS, np.full((17, 1), 2.0)], axis=1).flatten().tolist()
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 60, 80], "area": 4800.0, "iscrowd": 0}
    return {**whole, "keypoints": flat, "num_keypoints": 17, **changed}


def truth(*annotations: dict[str, Any]) -> dict[str, Any]:
    category = {"id": 1, "name": "person", "keypoints": list(COCO_17.names), "skeleton": []}
    return {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "annotations": list(annotations),
        "categories": [category],
    }


def test_a_perfect_answer_scores_one_and_a_far_one_zero() -> None:
    near = metrics.result_rows([prediction(0)], SIGMAS)
    far = metrics.result_rows([prediction(0, shift=500.0)], SIGMAS)
    assert metrics.coco_figures(truth(annotation()), near)["AP"] == pytest.approx(1.0)
    assert metrics.coco_figures(truth(annotation()), far)["AP"] == 0.0


def test_no_answer_scores_zero_and_nothing_to_find_minus_one() -> None:
    assert metrics.coco_figures(truth(annotation()), [])["AP"] == 0.0
    assert metrics.coco_figures(truth(), [])["AR"] == -1.0


def test_of_two_rows_with_one_id_the_first_stays() -> None:
    rows = metrics.result_rows([prediction(5, score=0.4), prediction(5, shift=300.0, score=0.9)], SIGMAS)
    assert [row["score"] for row in rows] == pytest.approx([0.4])


def test_twins_are_suppressed_and_neighbours_stay() -> None:
    rows = metrics.result_rows([prediction(0, score=0.5), prediction(1, 0.5, 0.8), prediction(2, 60.0)], SIGMAS)
    assert [row["score"] for row in rows] == pytest.approx([0.9, 0.8])


def test_points_up_to_the_threshold_do_not_count_in_the_score() -> None:
    scores = np.array([0.2, 0.2, 0.6, 0.8])
    assert metrics.person_score(scores, 0.5) == pytest.approx(0.35)
    assert metrics.person_score(np.zeros(4), 0.5) == 0.0


def test_at_most_twenty_detections_of_an_image_count() -> None:
    many = [prediction(index, shift=200.0 + 200 * index, score=0.9) for index in range(20)]
    hit = prediction(20, score=0.3)
    assert metrics.coco_figures(truth(annotation()), metrics.result_rows([*many, hit], SIGMAS))["AR"] == 0.0
    assert metrics.coco_figures(truth(annotation()), metrics.result_rows([*many[1:], hit], SIGMAS))["AR"] == 1.0
