"""service/library/duplicates.py: vectors from files and jobs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.errors import InvalidInput
from service.library.duplicates import duplicate_groups, read_vectors
from tests.diffsight.command import diffsight
from training.datasets.digits import load_training_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, smaller or JPEG copies of three of them, and a file that is no image."""
    root = tmp_path_factory.mktemp("pictures")
    digits = load_training_digits()
    for number in range(6):
        Image.fromarray(digits.image(number)).save(root / f"{number}.png")
    (root / "copies").mkdir()
    first = Image.open(root / "0.png")
    first.resize((first.width * 4 // 5, first.height * 4 // 5)).save(root / "copies" / "smaller.png")
    Image.open(root / "1.png").save(root / "copies" / "saved.jpg", quality=80)
    shutil.copy(root / "0.png", root / "copies" / "same.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


def test_stored_vectors_are_read_from_both_files(folder: Path, tmp_path: Path) -> None:
    out, job = tmp_path / "vectors.npy", tmp_path / "vectors.jsonl"
    images = [folder / "0.png", folder / "1.png", folder / "copies" / "same.png"]
    made = diffsight("predict", "features", *images, "--noise-samples", "0", "--npy", out)
    assert made.returncode == 0, made.stderr
    done = diffsight("duplicates", out, "--similarity", "0.999999")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "0"
    assert lines[1].split()[1] == "2"
    assert lines[2] == "3 images, 1 groups of copies, 1 images could go"
    vectors = np.load(out)
    job.write_text(
        "".join(
            json.dumps({"image_name": path.name, "vector": vector}) + "\n"
            for path, vector in zip(images, vectors.tolist(), strict=True)
        )
    )
    stored = read_vectors(job)
    np.testing.assert_array_equal(stored.vectors, vectors)
    assert [[member.name for member in group] for group in duplicate_groups(stored, 0.999999)] == [
        ["0.png", "same.png"]
    ]


def test_a_source_without_vectors_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = diffsight("duplicates", tmp_path / "empty")
    assert done.returncode == 2
    assert "has no images" in done.stderr
    np.save(tmp_path / "flat.npy", np.ones(4))
    np.save(tmp_path / "whole.npy", np.ones((4, 4), np.int64))
    files = {
        "text.npy": "no array",
        "text.jsonl": "no JSON",
        "list.jsonl": "[1]\n",
        "none.jsonl": "",
        "pose.jsonl": '{"image_name": "a", "persons": []}\n',
        "sizes.jsonl": '{"vector": [1, 2]}\n{"vector": [1]}\n',
        "words.jsonl": '{"vector": ["one", "two"]}\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in (*files, "flat.npy", "whole.npy", "missing.npy"):
        with pytest.raises(InvalidInput):
            read_vectors(tmp_path / name)
