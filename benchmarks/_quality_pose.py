"""Keypoints of the shipped pose head on the rendered world's held-out scenes, beside the training's mean pose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from backbones.engine import DirectEngine
from backbones.errors import ModelNotFound
from backbones.loading.source import open_backbone
from benchmarks._table import print_table
from heads.sdpose.checkpoint import POSE_FILE, is_fitted_for, open_pose
from heads.sdpose.pose import POCKET as SHIPPED
from training.pose import mean_pose_points
from training.pose_data import read_pose_data
from training.pose_evaluation import evaluate_predictions, measure_pck, predict_persons


def measure_pose(folder: Path) -> dict[str, float]:
    """Figures with annotated boxes: `pose_pck_0_1`, `pose_ap`, and those of the mean pose.

    folder: a rendered world.

    Raises ModelNotFound if no head is shipped for the embedded backbone.
    """
    backbone = open_backbone("pocket")
    if not is_fitted_for(SHIPPED, backbone):
        raise ModelNotFound(
            "no pose head is shipped for the embedded backbone",
            hint="fit one: docs/pose.md has the command, with --out heads/sdpose/pocket",
        )
    data = read_pose_data(folder / "instances.json", folder / "images")
    predictions = predict_persons(DirectEngine(backbone), open_pose(backbone, SHIPPED), data, data.persons)
    mean = np.array(json.loads((SHIPPED / POSE_FILE).read_text(encoding="utf-8"))["told"]["mean_pose"])
    baseline = dict(zip((person.id for person in data.persons), mean_pose_points(mean, data.persons), strict=True))
    shares = measure_pck(data, {prediction.id: prediction.points for prediction in predictions})
    of_mean = measure_pck(data, baseline)
    ap = evaluate_predictions(data, predictions)[0]["keypoints"]["AP"]
    rows = [[name, f"{shares[name]:.3f}", f"{of_mean[name]:.3f}"] for name in shares]
    notes = [f"{len(data.persons)} persons in annotated boxes; OKS-AP {ap:.3f}"]
    print_table("share of points within a tenth of the box (PCK 0.1)", ["point", "head", "mean pose"], rows, notes)
    return {"pose_pck_0_1": shares["all"], "pose_mean_pose_pck_0_1": of_mean["all"], "pose_ap": ap}
