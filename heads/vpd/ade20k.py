"""Names and colours of ADE20K's 150 classes, which the published segmentation network was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COUNT = 150


def read_classes() -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names in the order of the network's outputs, and their palette: (150, 3) uint8 RGB.

    Source: mmsegmentation, `mmseg/utils/class_names.py`, whose "bed " ends in a blank that is not part of the name.
    """
    classes = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    names = tuple(entry["name"] for entry in classes)
    return names, np.array([entry["colour"] for entry in classes], dtype=np.uint8)
