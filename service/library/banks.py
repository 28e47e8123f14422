"""A cache of supports' banks: on the device, then in the host's memory, then on disk.

A bank depends only on the fine-tuned weights, the picture, its mask and the size, so reuse is exact.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from backbones.backbone import Description
from backbones.engine import Engine
from backbones.files import remove_leftovers, replacing_path
from backbones.rows import Bank
from heads.diffews.bank import (
    VARIANT,
    BankForm,
    bank_bytes,
    bank_from_tensors,
    bank_tensors,
    support_banks,
)

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""A picture (H, W, 3) uint8 RGB and its mask (H, W) of 0 and 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One support. id: of its picture and mask. pair: returns both; called only if its bank must be computed."""

    id: str
    pair: Callable[[], Pair]


def shot_id(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> str:
    """16 hexadecimal digits that two supports share exactly when picture and mask are equal.

    image: (H, W, 3) uint8. mask: (H, W) of 0 and 1.
    """
    digest = hashlib.blake2b(f"{image.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(image).data)
    digest.update(np.packbits(mask != 0).data)
    return digest.hexdigest()


@dataclass(slots=True)
class BankFigures:
    """Counts since the start: banks read from the device, from host memory and from disk, and computed banks."""

    device: int = 0
    host: int = 0
    disk: int = 0
    computed: int = 0


_LONGEST_WRITE_SECONDS = 3600.0
"""A partly written file that is older belongs to no running process."""


class BankCache:
    """Banks by key.

    The least recently used bank moves from the device to the host, and from there it is dropped; banks of concepts are
    also on disk. device_bytes, host_bytes, disk_bytes: the budget of each place; 0 keeps nothing there. folder: of the
    files.
    """

    def __init__(self, folder: Path, *, device_bytes: int, host_bytes: int, disk_bytes: int) -> None:
        self.folder = folder
        self.disk_bytes = disk_bytes
        self.figures = BankFigures()
        self._device = _Place(device_bytes)
        self._host = _Place(host_bytes)
        self._lock = Lock()

    async def banks(
        self,
        engine: Engine,
        shots: Sequence[Shot],
        *,
        size: int,
        form: BankForm = "keys_values",
        variant: str = VARIANT,
        on_disk: bool = False,
    ) -> list[Bank]:
        """The bank of each shot, from the nearest place that has it; the rest are computed in one call.

        variant: the backbone's U-Net that computes them.
        on_disk: also read banks from the folder, and write computed ones to it.
        """
        on_disk = on_disk and self.disk_bytes > 0
        keys = [bank_key(engine.backbone, shot.id, size, form, variant) for shot in shots]
        banks = await self._find(engine, tuple(dict.fromkeys(keys)), on_disk)
        missing = {key: shot for key, shot in zip(keys, shots, strict=True) if key not in banks}
        if missing:
            pairs = await engine.run_on_host(lambda: [shot.pair() for shot in missing.values()])
            images, masks = [image for image, _ in pairs], [mask for _, mask in pairs]
            computed = await support_banks(engine, images, masks, size=size, form=form, variant=variant)
            # Captures are views of a whole batch, which would stay in memory.
            own = await engine.run(lambda: [_copy_bank(bank) for bank in computed])
            self.figures.computed += len(own)
            banks |= zip(missing, own, strict=True)
            if on_disk:
                for key in missing:
                    await engine.run_on_host(self._write, key, banks[key])
        await self._keep(engine, banks)
        return [banks[key] for key in keys]

    async def _find(self, engine: Engine, keys: Sequence[str], on_disk: bool) -> dict[str, Bank]:
        """The cached banks, all on the device; banks from other places are moved in one copy."""
        on_device: dict[str, Bank] = {}
        below: dict[str, Bank] = {}
        for key in keys:
            if (bank := self._device.get(key)) is not None:
                self.figures.device += 1
                on_device[key] = bank
            elif (bank := self._host.get(key)) is not None:
                self.figures.host += 1
                below[key] = bank
            elif on_disk and (bank := await engine.run_on_host(self._read, key)) is not None:
                self.figures.disk += 1
                below[key] = bank
        if below:
            device = engine.backbone.device
            moved = await engine.run(lambda: [_move_bank(bank, device) for bank in below.values()])
            on_device |= zip(below, moved, strict=True)
        return on_device

    async def _keep(self, engine: Engine, banks: Mapping[str, Bank]) -> None:
        """Keep the banks of a request.

        They do not evict each other: otherwise a set larger than the budget would evict itself, and all of it would
        move with every request.
        """
        down = {}
        for key, bank in banks.items():
            for old, gone in self._device.put(key, bank, beside=banks.keys()):
                # A bank from the host is still there, and a bank larger than the host's budget needs no copy.
                if self._host.get(old) is None and bank_bytes(gone) <= self._host.budget_bytes:
                    down[old] = gone
        if down:
            on_host = await engine.run(lambda: [_move_bank(bank, "cpu") for bank in down.values()])
            for key, bank in zip(down, on_host, strict=True):
                self._host.put(key, bank, beside=banks.keys())

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _read(self, key: str) -> Bank | None:
        """The bank in a file; None if there is none, or if it cannot be read."""
        path = self._path(key)
        try:
            bank = bank_from_tensors(load_file(path))
            os.utime(path)
        except (OSError, SafetensorError, KeyError):
            return None
        return bank

    def remove_leftovers(self) -> list[str]:
        """Delete partly written files of killed processes; returns the names."""
        return remove_leftovers(self.folder, older_than_seconds=_LONGEST_WRITE_SECONDS)

    def _write(self, key: str, bank: Bank) -> None:
        """Write a bank's file whole; the least recently used files go. On a full disk the file is skipped."""
        if bank_bytes(bank) > self.disk_bytes:
            return
        with suppress(OSError, SafetensorError), self._lock:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing_path(self._path(key)) as beside:
                save_file({name: tensor.cpu().contiguous() for name, tensor in bank_tensors(bank).items()}, beside)
            files = [(file.stat(), file) for file in self.folder.glob("*.safetensors")]
            left = sum(stat.st_size for stat, _ in files)
            for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
                if left <= self.disk_bytes:
                    return
                file.unlink(missing_ok=True)
                left -= stat.st_size


def bank_key(backbone: Description, shot: str, size: int, form: BankForm, variant: str = VARIANT) -> str:
    """The key of a bank, equal for equal banks: a file's name, 32 hexadecimal digits."""
    revisions = backbone.revision, backbone.variant_revisions.get(variant, "")
    facts = repr((*revisions, str(backbone.dtype), shot, size, form))
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


class _Place:
    """Banks within a budget of bytes; evicted banks are returned to the caller."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._held: OrderedDict[str, Bank] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: str) -> Bank | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: str, bank: Bank, beside: Collection[str] = ()) -> list[tuple[str, Bank]]:
        """Keep a bank.

        Returns the evicted banks, or the bank itself if there is no room for it. beside: banks that must not be
        evicted.
        """
        size = bank_bytes(bank)
        with self._lock:
            if key in self._held:
                return []
            others = [other for other in self._held if other not in beside]
            needed = self._bytes + size - self.budget_bytes
            if needed > sum(bank_bytes(self._held[other]) for other in others):
                return [(key, bank)]
            gone = []
            while needed > 0:
                other = others.pop(0)
                gone.append((other, self._held.pop(other)))
                needed -= bank_bytes(gone[-1][1])
            self._held[key] = bank
            self._bytes += size - sum(bank_bytes(bank) for _, bank in gone)
            return gone


def _copy_bank(bank: Bank) -> Bank:
    return bank_from_tensors({name: tensor.clone() for name, tensor in bank_tensors(bank).items()})


def _move_bank(bank: Bank, device: torch.device | str) -> Bank:
    return bank_from_tensors({name: tensor.to(device) for name, tensor in bank_tensors(bank).items()})
