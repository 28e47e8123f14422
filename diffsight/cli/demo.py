"""`diffsight demo`: the whole service, tried once on real files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backbones.errors import InvalidInput
from diffsight.demo import demonstrate

HELD_OUT = 360
SCENES = 93


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, inputs and the server's log.")] = Path("out"),
    images: Annotated[int, typer.Option(help=f"Number of held-out digits to classify, 10 to {HELD_OUT}.")] = 30,
    scenes: Annotated[int, typer.Option(help=f"Number of held-out scenes to run, 1 to {SCENES}.")] = 12,
    fitted_on: Annotated[
        int, typer.Option(help="Number of training digits for the classifier on features, 50 or more.")
    ] = 200,
) -> None:
    """
    \b
    diffsight demo
    diffsight demo --images 360 --out /tmp/demo

    Start a server on the embedded backbone, send it images of digits and scenes that were not in the training data,
    draw the answers, and print how many are correct.
    """
    if not 10 <= images <= HELD_OUT:
        raise InvalidInput("images", f"{images}", hint=f"give 10 to {HELD_OUT}")
    if not 50 <= fitted_on <= 1437:
        raise InvalidInput("fitted-on", f"{fitted_on}", hint="give 50 to 1437")
    if not 1 <= scenes <= SCENES:
        raise InvalidInput("scenes", f"{scenes}", hint=f"give 1 to {SCENES}")

    demonstrate(out, images, fitted_on, scenes)
