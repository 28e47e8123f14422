"""Official layouts of dense data sets are read, and pickles that would run code are refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backbones.errors import InvalidInput
from training.datasets.public_dense import ade_samples, nyu_samples, read_refs, refcoco_samples


def grey(height: int, width: int, value: int = 90) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), value, dtype=np.uint8))


def test_nyu_is_read_with_its_scenes(tmp_path: Path) -> None:
    for scene in ("study_room_0001", "kitchen_0002"):
        (tmp_path / scene).mkdir()
        grey(48, 64).save(tmp_path / scene / "rgb_00045.jpg")
        Image.fromarray(np.full((48, 64), 2500, dtype=np.uint16)).save(tmp_path / scene / "sync_depth_00045.png")
    samples = {sample.scene: sample for sample in nyu_samples(tmp_path)}
    # `study_room` is caught by `study`, as in the original.
    assert set(samples) == {"study", "kitchen"}
    assert float(samples["kitchen"].truth[0, 0]) == 2.5
    with pytest.raises(InvalidInput):
        list(nyu_samples(tmp_path / "nothing"))


def test_ade_labels_start_at_one(tmp_path: Path) -> None:
    for part in ("images", "annotations"):
        (tmp_path / part / "validation").mkdir(parents=True)
    grey(8, 8).save(tmp_path / "images/validation/ADE_val_1.jpg")
    labels = np.array([[0, 1], [2, 150]], dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / "annotations/validation/ADE_val_1.png")
    (sample,) = ade_samples(tmp_path)
    assert sample.truth.tolist() == [[255, 0], [1, 149]]


@pytest.fixture
def refcoco(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a small RefCOCO with the given references."""

    def write(refs: Any) -> Path:
        (tmp_path / "train2014").mkdir(exist_ok=True)
        grey(20, 30).save(tmp_path / "train2014/a.jpg")
        square = [2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]
        instances = {
            "images": [{"id": 7, "file_name": "a.jpg"}],
            "annotations": [{"id": 3, "segmentation": [square, [8.0, 2.0, 14.0, 2.0, 14.0, 10.0, 8.0, 10.0]]}],
        }
        (tmp_path / "instances.json").write_text(json.dumps(instances))
        with (tmp_path / "refs(unc).p").open("wb") as file:
            pickle.dump(refs, file, protocol=2)
        return tmp_path

    return write


def test_refcoco_gives_every_sentence_and_counts_overlaps_twice(refcoco: Callable[[Any], Path]) -> None:
    ref = {"image_id": 7, "ann_id": 3, "split": "val", "sentences": [{"sent": "the box"}, {"sent": "left"}]}
    folder = refcoco([ref, {**ref, "split": "testA"}])
    samples = list(refcoco_samples(folder, folder / "train2014"))
    assert [sample.sentence for sample in samples] == ["the box", "left"]
    assert set(np.unique(samples[0].truth)) == {0, 1, 2}
    with pytest.raises(InvalidInput, match="testB"):
        list(refcoco_samples(folder, folder / "train2014", split="testB"))


class Payload:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.mkdir, (Path("ran"),)


def test_a_pickle_that_would_run_something_is_refused(
    refcoco: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = refcoco([Payload()])
    monkeypatch.chdir(folder)
    with pytest.raises(InvalidInput, match="safely"):
        read_refs(folder / "refs(unc).p")
    assert not (folder / "ran").exists()
