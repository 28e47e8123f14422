"""`python -m training.world FOLDER`: render scenes with exact depth, masks, keypoints, captions and expressions.

Stopped at any time, the same command goes on where it was; the same seed gives the same world.

    python -m training.world runs/world/training --scenes 12000 --seed 1
    python -m training.world runs/world/few-shot --scenes 800 --seed 3 --kinds held-out
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.world.vocabulary import CLASSES, HELD_OUT_CLASSES, TRAINING_CLASSES
from training.world.writer import World, write_world


class Kinds(StrEnum):
    """The kinds of things in the scenes."""

    training = "training"
    held_out = "held-out"
    all = "all"


_KINDS = {Kinds.training: TRAINING_CLASSES, Kinds.held_out: HELD_OUT_CLASSES, Kinds.all: CLASSES}


def render(
    folder: Annotated[Path, typer.Argument(help="Folder of the world; training/world/writer.py describes its layout.")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
    size: Annotated[int, typer.Option(min=32, max=1024, help="Pixels of a side.")] = 128,
    kinds: Annotated[Kinds, typer.Option(help="Things of the training data, held-out things, or both.")] = (
        Kinds.training
    ),
    processes: Annotated[int, typer.Option(min=1, help="Number of processes.")] = os.cpu_count() or 1,
) -> None:
    """Render a world of scenes with exact depth, masks, keypoints, captions and referring expressions."""
    write_world(World(seed, scenes, size, _KINDS[kinds]), folder, processes)
    typer.echo(f"{scenes} scenes in {folder}")


if __name__ == "__main__":
    typer.run(render)
