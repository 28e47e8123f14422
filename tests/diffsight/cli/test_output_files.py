"""No file is written over another one, nor over an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffsight.cli.output_files import OutputFiles

pytestmark = pytest.mark.field


def test_images_of_one_name_and_forms_of_one_folder_have_files_of_their_own(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("a.jpg", "a.png", "x/a.png", "b.png")]
    outputs = OutputFiles(images)
    chosen = [outputs.choose(tmp_path / "out", image, ".png").name for image in (*images, images[0])]
    assert chosen == ["a.png", "a-2.png", "a-3.png", "b.png", "a-4.png"]
    assert outputs.choose(tmp_path / "other", images[1], ".png") == tmp_path / "other/a.png"


def test_an_image_that_was_read_is_not_written_over(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    assert OutputFiles([image]).choose(tmp_path, image, ".png") == tmp_path / "a-2.png"


def test_names_of_any_bytes_and_length_are_written(tmp_path: Path) -> None:
    outputs = OutputFiles([])
    for name in ("caf\udce9.png", "a" * 255):
        outputs.choose(tmp_path, tmp_path / name, "_keypoints.json").write_bytes(b"")
