"""Images of a pose data set in the coordinates of their annotations."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from heads.sdpose.skeletons import COCO_17
from training.pose_data import PoseData


@pytest.mark.field
@pytest.mark.parametrize(("size", "shape"), [((8, 4), (4, 8)), ((4, 8), (8, 4)), ((None, None), (8, 4))])
def test_an_image_is_in_the_coordinates_of_its_annotations(
    tmp_path: Path, size: tuple[int | None, int | None], shape: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    content = {"images": [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}]}
    assert PoseData(content, tmp_path, COCO_17, (), {}).image(1).shape[:2] == shape
