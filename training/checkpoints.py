"""Checkpoints that survive a kill: the file is always a complete one, old or new, and is read without unpickling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from backbones.files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, lists and dictionaries of them). `path` always holds a complete
    checkpoint.
    """
    with replacing(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on the CPU. Raises FileNotFoundError if there is none."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
