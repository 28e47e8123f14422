"""How far points moved between two runs."""

from __future__ import annotations

import numpy as np

from heads.sdpose.skeletons import COCO_17
from training.pose_evaluation import point_errors


def test_points_that_did_not_move_are_reported_so() -> None:
    from heads.sdpose.metrics import Prediction

    points = np.zeros((17, 2))
    still = Prediction(0, 1, points, np.ones(17), 1.0, 1.0)
    moved = Prediction(0, 1, points + np.array([3.0, 4.0]), np.ones(17), 1.0, 1.0)
    assert point_errors([moved], [still]) == {"points": 17, "mean": 5.0, "95 %": 5.0, "largest": 5.0}
    assert point_errors([still], [still])["largest"] == 0.0
    assert len(COCO_17) == 17
