"""Folders of labelled images: a folder a class."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from backbones.errors import InvalidInput
from diffsight.cli.labelled_folder import examples_of, list_labelled_files
from diffsight.cli.local import open_engine
from service.settings.loader import load_settings
from tests.service.library.test_classifiers import FEATURES


@pytest.fixture
def folder(tmp_path: Path, picture: Image.Image) -> Path:
    for name, turned in (("deep/cat/2.PNG", 0), ("cat/1.jpg", 90), ("dog/1.bmp", 180)):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.rotate(turned).save(file)
    (tmp_path / "cat/notes.txt").write_text("no image")
    picture.save(tmp_path / "loose.png")
    return tmp_path


def test_images_are_labelled_by_the_folder_they_are_in(folder: Path) -> None:
    files = [(str(file.relative_to(folder)), label) for file, label in list_labelled_files(folder)]
    assert files == [("cat/1.jpg", "cat"), ("deep/cat/2.PNG", "cat"), ("dog/1.bmp", "dog")]


def test_a_folder_without_classes_is_refused(folder: Path) -> None:
    for place in (folder / "nowhere", folder / "deep"):
        with pytest.raises(InvalidInput):
            list_labelled_files(place)


def test_examples_keep_the_order_of_the_files(folder: Path) -> None:
    settings = load_settings(device="cpu")
    examples = examples_of(open_engine(settings), list_labelled_files(folder), FEATURES, settings)
    assert examples.labels == ("cat", "cat", "dog")
    assert len(examples.vectors) == len({key.tobytes() for key in examples.keys}) == 3


@pytest.mark.field
def test_litter_is_no_class_and_a_name_in_two_forms_is_one(tmp_path: Path) -> None:
    image = BytesIO()
    Image.new("RGB", (4, 4)).save(image, "JPEG")
    seen = ("caf\u00e9/1.jpg", "cafe\u0301/2.jfif", "dog/3", "caf\udce9/6.jpg")
    for name in (*seen, "dog/._3.jpg", ".ipynb_checkpoints/4.jpg", "@eaDir/5.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image.getvalue())
    labels = sorted(label for _, label in list_labelled_files(tmp_path))
    assert labels == ["caf\\xe9", "caf\u00e9", "caf\u00e9", "dog"]
