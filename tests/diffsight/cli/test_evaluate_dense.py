"""`diffsight evaluate depth` on images laid out as NYU's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.diffsight.command import invoke

CPU = ["--device", "cpu"]


def test_a_head_is_measured_over_nyu_images(depth_head: Path, tmp_path: Path) -> None:
    (tmp_path / "kitchen_1").mkdir()
    Image.new("RGB", (64, 48), "grey").save(tmp_path / "kitchen_1/rgb_1.jpg")
    Image.fromarray(np.full((48, 64), 2000, dtype=np.uint16)).save(tmp_path / "kitchen_1/sync_depth_1.png")
    figures = json.loads(invoke("evaluate", "depth", str(tmp_path), "--head", str(depth_head), "--json", *CPU))
    assert figures["n_valid"] == 48 * 64
    assert 0 <= figures["d1"] <= 1
