"""`diffsight fit few-shot`: fine-tune your own U-Net for segmentation by examples."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from backbones.errors import InvalidInput
from backbones.stable_diffusion import StableDiffusion, Variant
from diffsight.cli.local import open_engine
from diffsight.cli.options import AsJson, with_settings
from diffsight.cli.progress_lines import progress_lines
from heads.diffews.preprocess import input_size
from service.settings.loader import Settings
from training.few_shot import FewShotRecipe, check_folder_for_few_shot, fine_tune, read_labelled_folder, save_few_shot

Parts = Annotated[
    list[str] | None,
    typer.Option(
        help="Train only parameters whose name contains this text, such as attn1. Repeat the option for "
        "several. Default: all."
    ),
]


@with_settings(without=("dtype",), in_full=True)
def few_shot(
    *,
    images: Annotated[Path, typer.Argument(help="Folder of images.", metavar="IMAGES", show_default=False)],
    masks: Annotated[
        Path,
        typer.Argument(
            help="Folder of masks NAME.png with class indices: 0 is no class, 255 is ignored.", metavar="MASKS"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the U-Net to.", metavar="FOLDER")],
    hold_out: Annotated[
        list[int] | None,
        typer.Option(help="Class to leave out of the training. Repeat the option for several.", metavar="CLASS"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.", min=1)] = 10_000,
    batch: Annotated[int, typer.Option(help="Episodes in each step.", min=1)] = 4,
    shots: Annotated[int, typer.Option(help="Maximum number of supports in an episode.", min=1)] = 2,
    learning_rate: Annotated[float, typer.Option(help="Learning rate at the start; it falls to 0.", min=1e-9)] = 1e-5,
    part: Parts = None,
    examples: Annotated[int, typer.Option(help="Maximum number of images to use; 0 for all.", min=0)] = 0,
    half: Annotated[bool, typer.Option("--half", help="Write the weights as float16, in half the size.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit few-shot images masks --out myfewshot --hold-out 4

    Fine-tune the backbone's U-Net as DiffewS did, on episodes of a query and its supports of the same class. With
    --part, the file holds only the trained parameters, and fits this backbone alone. Serve it with
    DIFFSIGHT_FEW_SHOT__WEIGHTS=myfewshot.
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise InvalidInput(str(folder), "there is no such folder", hint="give IMAGES and MASKS")

    check_folder_for_few_shot(out)
    classes = read_labelled_folder(images, masks, examples)
    pairs = {key: files for key, files in classes.items() if key not in (hold_out or ())}
    if not pairs:
        raise InvalidInput("--hold-out", "no class is left for training", hint="hold out fewer classes")
    engine = open_engine(settings)
    model = engine.model
    assert isinstance(model, StableDiffusion)
    recipe = FewShotRecipe(steps, batch, shots, learning_rate, parts=tuple(part or ()), seed=seed)
    size = settings.few_shot.image_size or input_size(engine.backbone)
    variant, losses = fine_tune_with_progress(model, pairs, recipe, size)
    save_few_shot(variant, model, out, recipe.parts, half=half)
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    if as_json:
        typer.echo(json.dumps({"out": str(out), "classes": sorted(pairs), "first_loss": first, "last_loss": last}))
    else:
        typer.echo(f"wrote {out}: {len(pairs)} classes, loss {first:.4f} to {last:.4f}")


def fine_tune_with_progress(
    model: StableDiffusion, pairs: Mapping[int, Sequence[tuple[Path, Path]]], recipe: FewShotRecipe, size: int
) -> tuple[Variant, list[float]]:
    """The fine-tuned U-Net and the loss of each step. Shows a progress bar with the loss."""
    losses: list[float] = []
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("fine-tuning", total=recipe.steps)

        def show_step(step: int, loss: float) -> None:
            losses.append(loss)
            bar.update(task, completed=step + 1, description=f"fine-tuning, loss {loss:.4f}")

        with progress_lines(lambda: f"fine-tuning, {len(losses)} of {recipe.steps}"):
            variant = fine_tune(model, pairs, recipe, size=size, on_step=show_step)
    return variant, losses
