"""Checks of the machine and the settings: device and driver, disk, rights, exposure, clock."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch

from backbones.errors import DiffsightError, InvalidInput
from backbones.loading.disk_space import FreeBytes, free_bytes, gigabytes
from backbones.loading.source import check_device
from backbones.nvidia import Nvidia, look_for_nvidia
from diffsight.doctor.findings import Finding
from service.http.access import check_exposure, is_loopback
from service.http.keys import read_keys
from service.models.loading import choose_device
from service.models.number_types import number_type
from service.settings.loader import Settings

# Free bytes: below the first number a problem, because writes will soon fail; below the second a warning.
FULL_BYTES, LITTLE_BYTES = 10**9, 10 * 10**9


def check_machine(
    settings: Settings,
    *,
    nvidia: Nvidia | None = None,
    free: FreeBytes = free_bytes,
    now: float | None = None,
) -> Iterator[Finding]:
    """All checks that load no model.

    nvidia, free, now: the state of the driver, free bytes below a folder, and the time in seconds since 1970; None
    looks them up.
    """
    yield find_device(settings, nvidia or look_for_nvidia())
    for name, folder in _folders(settings).items():
        yield find_rights(name, folder)
        yield find_space(name, folder, free)
    yield find_exposure(settings)
    yield find_clock(time.time() if now is None else now)


def find_device(settings: Settings, nvidia: Nvidia) -> Finding:
    """The device that the settings choose, its driver, and the number type there."""
    try:
        device = check_device(choose_device(settings.device, nvidia), nvidia)
    except InvalidInput as error:
        return Finding("device", "problem", error.message, error.hint)
    try:
        kind = str(number_type(settings, device)).removeprefix("torch.")
    except DiffsightError as error:
        return Finding("device", "problem", error.message, error.hint)
    software = f"torch {torch.__version__}, " + (f"CUDA {nvidia.cuda}" if nvidia.cuda else "built for CPUs")
    if device.type != "cuda":
        if nvidia.gpus and not nvidia.cuda:
            message = f"computes on {device}, while {nvidia.gpus} NVIDIA GPUs are here; {software}"
            return Finding("device", "warning", message, nvidia.hint())
        return Finding("device", "ok", f"{device}, {kind}, {software}")
    name = torch.cuda.get_device_name(device)
    rounding = ", TF32" if settings.tf32 and kind == "float32" else ""
    return Finding("device", "ok", f"{device} ({name}), {kind}{rounding}, driver {nvidia.driver or '?'}, {software}")


def find_space(name: str, folder: Path, free: FreeBytes) -> Finding:
    """The free space below a folder."""
    left = free(folder.absolute())
    message = f"{gigabytes(left)} free in {folder}"
    if left < FULL_BYTES:
        return Finding(f"disk of the {name}", "problem", message, "free some, or set another folder on a larger disk")
    if left < LITTLE_BYTES:
        return Finding(f"disk of the {name}", "warning", message, "a published model takes up to 5 GB")
    return Finding(f"disk of the {name}", "ok", message)


def find_rights(name: str, folder: Path) -> Finding:
    """Whether this user can write below a folder; if it does not exist, below the nearest existing parent."""
    check = f"rights in the {name}"
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError("no write right")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        user = os.getuid() if hasattr(os, "getuid") else "this user"
        hint = f"give user {user} the right to write there, or set another folder"
        return Finding(check, "problem", f"{existing} can not be written: {error.strerror or error}", hint)
    return Finding(check, "ok", f"{existing} can be written")


def find_exposure(settings: Settings) -> Finding:
    """Who can reach the server, and whether they need a key."""
    try:
        check_exposure(settings)
        keys = len(read_keys(settings.access.keys_path()))
    except DiffsightError as error:
        return Finding("exposure", "problem", str(error))
    reach = "this machine only" if is_loopback(settings.host) else f"other machines ({settings.host})"
    if settings.access.allow_anonymous and not is_loopback(settings.host):
        message = f"open to {reach}: requests without a key are answered"
        hint = "unset DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS and create keys, or keep others out by a proxy or firewall"
        return Finding("exposure", "problem", message, hint)
    return Finding("exposure", "ok", f"answers {reach}; {keys} API keys")


def find_clock(now: float) -> Finding:
    """Whether the clock is plausible: keys and leases of jobs expire by it. now: seconds since 1970."""
    shown = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    installed = Path(__file__).stat().st_mtime
    if now < installed - 86_400:
        return Finding("clock", "problem", f"{shown} is before this program was installed", "set the clock, or use NTP")
    return Finding("clock", "ok", shown)


def _folders(settings: Settings) -> dict[str, Path]:
    return {"data folder": settings.data_path().expanduser(), "models folder": settings.models_path()}
