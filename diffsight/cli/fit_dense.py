"""`diffsight fit depth|segmentation|referring`: heads of your own on the frozen backbone, from a folder of examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from backbones.errors import InvalidInput
from backbones.stable_diffusion import StableDiffusion
from diffsight.cli.local import open_engine
from diffsight.cli.options import AsJson, with_settings
from heads.vpd.heads import DenseTask
from service.settings.loader import Settings
from training.dense import DenseRecipe, fit_dense

Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder of examples: images/, and depth/, semantic/ or JSON files beside it.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write the head, its card and its curves to.", show_default=False)]
Measured = Annotated[
    Path | None,
    typer.Option("--held-out", help="Another folder of examples. The figures in the head's card are measured on it."),
]
Epochs = Annotated[int, typer.Option(help="Passes over the examples.", min=1)]
Examples = Annotated[int, typer.Option(help="Maximum number of examples to use; 0 for all.", min=0)]
Width = Annotated[int, typer.Option(help="Channels inside the head.", min=16)]
Size = Annotated[int, typer.Option(help="Side of the images in pixels; 0 is the backbone's image size.", min=0)]
Batch = Annotated[int, typer.Option(help="Examples in each step.", min=2)]


def fit_command(task: DenseTask, help_text: str) -> Callable[..., None]:
    """The command that fits the head of one task."""

    def command(
        folder: Folder,
        out: Out,
        *,
        held_out: Measured = None,
        epochs: Epochs = 12,
        examples: Examples = 0,
        width: Width = 64,
        size: Size = 0,
        batch: Batch = 32,
        settings: Settings,
        as_json: AsJson = False,
    ) -> None:
        if width % 16:
            raise InvalidInput("--width", f"{width}", hint="give a multiple of 16")
        recipe = DenseRecipe(epochs=epochs, width=width, size=size, batch=batch)
        backbone = open_engine(settings).model
        assert isinstance(backbone, StableDiffusion)
        figures = fit_dense(backbone, task, folder, out, recipe, most=examples, measured=held_out)
        written = out / f"{task}.safetensors"
        if as_json:
            typer.echo(json.dumps({"head": str(written), "figures": figures}))
            return
        for name, value in figures.items():
            typer.echo(f"{name:<28} {value:.4g}")
        typer.echo(f"wrote {written}; serve it: DIFFSIGHT_HEADS__{task.upper()}={written} diffsight serve")

    command.__doc__ = help_text
    return with_settings()(command)


depth = fit_command(
    "depth",
    """
    \b
    diffsight fit depth runs/world/training --out runs/heads
    DIFFSIGHT_HEADS__DEPTH=runs/heads/depth.safetensors diffsight serve

    Train a depth head. If it is stopped, the same command continues where it stopped.
    """,
)

segmentation = fit_command(
    "segmentation",
    """
    \b
    diffsight fit segmentation runs/world/training --out runs/heads

    Train a segmentation head. The file instances.json names the classes. If the command is stopped, the same command
    continues where it stopped.
    """,
)

referring = fit_command(
    "referring",
    """
    \b
    diffsight fit referring runs/world/training --out runs/heads

    Train a referring head. If it is stopped, the same command continues where it stopped.
    """,
)
