"""Concepts: how masks are read, notes on shots, and what a change keeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from backbones.errors import InvalidInput
from service.library.banks import Pair
from service.library.concepts import change_concept, check_pairs, describe_concept, object_mask, read_concept
from service.library.store import Store

SIZE = 64


def pair(seed: int) -> Pair:
    image = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:30] = 1
    return image, mask


def expand_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)


def test_masks_are_read_in_any_scale_and_colour() -> None:
    _, mask = pair(0)
    coloured = np.zeros((*mask.shape, 3), np.uint8)
    coloured[..., 1] = mask * 90
    for picture in (expand_mask(mask), expand_mask(mask) // 255, coloured):
        assert (object_mask(picture) == mask).all()
    assert not object_mask(np.zeros((4, 4, 3), np.uint8)).any()


def test_a_repeated_pair_is_left_out_and_a_whole_mask_is_noted() -> None:
    image, mask = pair(0)
    whole = np.full((40, 50, 3), 255, np.uint8)
    pairs, notes = check_pairs([image, image, image], [expand_mask(mask), expand_mask(mask), whole], SIZE)
    assert len(pairs) == 2
    assert [note.partition(":")[0] for note in notes] == ["masks.1", "masks.2"]


def test_a_concept_comes_back_from_its_file(tmp_path: Path) -> None:
    store = Store(tmp_path, "concept", most_bytes=1_000_000)
    about, tensors = describe_concept("cup", [pair(0), pair(1)])
    kept = store.add(about.model_dump(mode="json"), tensors)
    again, shots = read_concept(store, kept.id)
    assert again == about
    for shot, (image, mask) in zip(shots, (pair(0), pair(1)), strict=True):
        pair_again = shot.pair()
        assert (pair_again[0] == image).all()
        assert (pair_again[1] == mask).all()


def test_a_change_keeps_what_it_does_not_name() -> None:
    about, tensors = describe_concept("cup", [pair(0), pair(1)])
    first, second = (shot.id for shot in about.shots)
    changed, merged, notes = change_concept(
        about, tensors, name=None, add=[pair(1), pair(2)], remove=[first], most_shots=2
    )
    assert (changed.name, changed.created) == ("cup", about.created)
    assert changed.shots[0].id == second
    assert len(changed.shots) == 2
    assert len(merged) == 4
    assert notes == [f"shot {second} was there already"]


@pytest.mark.parametrize("change", ["unknown", "none left", "too many"])
def test_an_invalid_change_is_refused(change: str) -> None:
    about, tensors = describe_concept("cup", [pair(0)])
    remove = {"unknown": ["nothing"], "none left": [about.shots[0].id], "too many": []}[change]
    add = [pair(1), pair(2)] if change == "too many" else []
    with pytest.raises(InvalidInput):
        change_concept(about, tensors, name=None, add=add, remove=remove, most_shots=2)
