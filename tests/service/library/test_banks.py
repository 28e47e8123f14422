"""Banks of supports, on a small network: their levels of cache, and their eviction to the next level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.engine import DirectEngine, Result, complete
from backbones.loading.source import open_backbone
from heads.diffews.bank import VARIANT, bank_bytes
from heads.diffews.checkpoint import fresh_variant
from service.library.banks import BankCache, Shot, shot_id

SIZE = 64
PLENTY = 1 << 30


@pytest.fixture(scope="module")
def engine() -> DirectEngine:
    model = open_backbone("pocket")
    model.add_variant(VARIANT, fresh_variant(model))
    return DirectEngine(model)


def shot(seed: int) -> Shot:
    image = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:30] = 1
    return Shot(shot_id(image, mask), lambda: (image, mask))


def test_a_shot_is_named_by_its_picture_and_its_mask() -> None:
    image, mask = shot(0).pair()
    assert shot(0).id == shot(0).id != shot(1).id
    assert shot_id(image, mask) != shot_id(image, 1 - mask)
    assert shot_id(image, mask) != shot_id(image.reshape(50, 40, 3), mask)


def test_a_kept_bank_is_computed_once_however_often_it_is_wanted(engine: DirectEngine, tmp_path: Path) -> None:
    cache = BankCache(tmp_path, device_bytes=PLENTY, host_bytes=PLENTY, disk_bytes=PLENTY)
    first = complete(cache.banks(engine, [shot(0), shot(1), shot(0)], size=SIZE))
    again = complete(cache.banks(engine, [shot(1)], size=SIZE))
    assert first[0] is first[2]
    assert again[0] is first[1]
    assert (cache.figures.computed, cache.figures.device) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_concepts_bank_is_found_on_disk_by_another_process(engine: DirectEngine, tmp_path: Path) -> None:
    for computed, from_disk in ((1, 0), (0, 1)):
        cache = BankCache(tmp_path, device_bytes=0, host_bytes=0, disk_bytes=PLENTY)
        complete(cache.banks(engine, [shot(0)], size=SIZE, on_disk=True))
        assert (cache.figures.computed, cache.figures.disk) == (computed, from_disk)


def test_a_full_device_hands_the_oldest_to_the_host(engine: DirectEngine, tmp_path: Path) -> None:
    cache = BankCache(tmp_path, device_bytes=size_of_one(engine, tmp_path), host_bytes=PLENTY, disk_bytes=0)
    for seed in (0, 1, 0):
        complete(cache.banks(engine, [shot(seed)], size=SIZE))
    assert (cache.figures.computed, cache.figures.host) == (2, 1)


def size_of_one(engine: DirectEngine, folder: Path) -> int:
    everything = BankCache(folder, device_bytes=PLENTY, host_bytes=0, disk_bytes=0)
    (bank,) = complete(everything.banks(engine, [shot(0)], size=SIZE))
    return bank_bytes(bank)


@pytest.mark.parametrize("host", [PLENTY, 0])
def test_a_set_larger_than_the_device_leaves_there_what_fits(engine: DirectEngine, tmp_path: Path, host: int) -> None:
    bank_bytes = size_of_one(engine, tmp_path)
    cache = BankCache(tmp_path, device_bytes=2 * bank_bytes, host_bytes=host, disk_bytes=0)
    shots = [shot(seed) for seed in range(3)]
    first = complete(cache.banks(engine, shots, size=SIZE))
    kept = dict(cache._device._held)
    again = complete(cache.banks(engine, shots, size=SIZE))
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    assert dict(cache._device._held) == kept
    figures = cache.figures
    assert (figures.device, figures.host, figures.computed) == ((2, 1, 3) if host else (2, 0, 4))


def test_a_set_that_comes_up_from_the_host_moves_in_one_call(engine: DirectEngine, tmp_path: Path) -> None:
    class Counting(DirectEngine):
        calls = 0

        async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
            self.calls += 1
            return await super().run(function, *arguments)

    counting = Counting(engine.model)
    cache = BankCache(tmp_path, device_bytes=0, host_bytes=PLENTY, disk_bytes=0)
    shots = [shot(seed) for seed in range(3)]
    complete(cache.banks(counting, shots, size=SIZE))
    counting.calls = 0
    complete(cache.banks(counting, shots, size=SIZE))
    assert (cache.figures.host, counting.calls) == (3, 1)


def test_a_bank_from_the_host_is_not_copied_to_it_again(engine: DirectEngine, tmp_path: Path) -> None:
    cache = BankCache(tmp_path, device_bytes=size_of_one(engine, tmp_path), host_bytes=PLENTY, disk_bytes=0)
    for seed in (0, 1, 0):
        complete(cache.banks(engine, [shot(seed)], size=SIZE))
    held = dict(cache._host._held)
    for seed in (1, 0, 1):
        complete(cache.banks(engine, [shot(seed)], size=SIZE))
    assert all(cache._host.get(key) is kept for key, kept in held.items())
    assert len(held) == 2


def test_a_disk_that_is_full_loses_the_least_recently_used(engine: DirectEngine, tmp_path: Path) -> None:
    cache = BankCache(tmp_path, device_bytes=0, host_bytes=0, disk_bytes=PLENTY)
    complete(cache.banks(engine, [shot(0)], size=SIZE, on_disk=True))
    (file,) = tmp_path.iterdir()
    small = BankCache(tmp_path, device_bytes=0, host_bytes=0, disk_bytes=file.stat().st_size)
    complete(small.banks(engine, [shot(1)], size=SIZE, on_disk=True))
    assert len(list(tmp_path.iterdir())) == 1
