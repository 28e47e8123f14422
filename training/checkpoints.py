"""Checkpoints that survive a kill: the old one or the new one, whole, and read back without unpickling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from backbones.files import replacing


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, lists and dictionaries of them) so that `path` is always whole."""
    with replacing(path) as file:
        torch.save(state, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises FileNotFoundError when there is none.
    """
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
