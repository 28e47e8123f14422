"""Pictures of answers, drawn with Pillow alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from diffsight.pictures import add_caption, confusion, posteriors

IMAGES = [np.full((20, 20, 3), value, np.uint8) for value in (0, 120, 250)]


def test_wrong_answers_come_first_in_a_sheet_of_posteriors(tmp_path: Path) -> None:
    answers = SimpleNamespace(labels=np.array([0, 0, 1]), posteriors=np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]))
    posteriors(tmp_path / "deep/sheet.png", IMAGES, answers, ["cat", "dog"])
    with Image.open(tmp_path / "deep/sheet.png") as sheet:
        assert sheet.size == (1000, 84)
        assert sheet.getpixel((20, 20)) == (120, 120, 120)


def test_a_table_of_answers_is_dark_where_they_are(tmp_path: Path) -> None:
    confusion(tmp_path / "table.png", np.array([0, 0, 1]), np.array([0, 0, 0]), ["cat", "dog"])
    with Image.open(tmp_path / "table.png") as table:
        pixels = np.asarray(table).astype(int)
    cells = [[pixels[40 + 46 * row + 4, 96 + 46 * column + 4].sum() for column in range(2)] for row in range(2)]
    assert cells[0][0] < cells[0][1] == 3 * 255
    assert cells[1][0] < cells[1][1] == 3 * 255


def test_rows_of_captioned_images_stand_below_each_other(tmp_path: Path) -> None:
    add_caption(tmp_path / "rows.png", [[("one", IMAGES[0]), ("two", IMAGES[1])], [("x" * 500, IMAGES[2])]], side=30)
    with Image.open(tmp_path / "rows.png") as rows:
        assert rows.size == (2 * 36 + 6, 2 * 54 + 6)
        assert rows.getpixel((6 + 15, 6 + 18 + 15)) == (0, 0, 0)
