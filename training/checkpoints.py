"""Checkpoints that survive a kill: written beside, then renamed, and read back without unpickling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, lists and dictionaries of them) so that `path` is always whole."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises FileNotFoundError when there is none.
    """
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
