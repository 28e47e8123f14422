"""The layouts of few-shot benchmarks, and which are refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from backbones.errors import CheckpointError, InvalidInput, ModelNotFound
from tests.training.few_shot_layouts import MAKERS
from training.few_shot_benchmarks import open_fold, read_plain_pickle


def test_classes_of_a_fold_are_read_where_they_are(tmp_path: Path) -> None:
    for make in MAKERS.values():
        make(tmp_path)
    image, labels = open_fold("pascal", tmp_path, 0, 1).read("2007_000001", 1)
    assert image.shape == (48, 64, 3)
    assert (labels == 1).sum() == 440
    fold = open_fold("lvis", tmp_path, 1, 1, episodes=4)
    assert fold.class_ids == (0, 1)
    assert fold.read("val2017/000000000001.jpg", 1)[1].sum() == pytest.approx(18 * 19, abs=40)
    with pytest.raises(InvalidInput, match="outside"):
        open_fold("coco", tmp_path, 4, 1)
    with pytest.raises(ModelNotFound, match="missing"):
        open_fold("coco", tmp_path, 3, 1)


def test_a_split_that_holds_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fold0.pkl"
    file.write_bytes(pickle.dumps({0: Path("/")}))
    with pytest.raises(CheckpointError, match="plain values"):
        read_plain_pickle(file)
