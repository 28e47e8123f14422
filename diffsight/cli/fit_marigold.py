"""`diffsight fit depth-relative|normals`: fine-tune your own U-Net that predicts depth or normals in one step."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from backbones.stable_diffusion import StableDiffusion
from diffsight.cli.fit_few_shot import Parts
from diffsight.cli.local import open_engine
from diffsight.cli.options import AsJson, with_settings
from heads.marigold.model import Modality
from service.settings.loader import Settings
from training.datasets.dense_folder import DenseFolder
from training.datasets.depth_normals import FIELD_OF_VIEW
from training.marigold import MarigoldRecipe, check_folder_for_marigold, fine_tune, save_marigold

Folder = Annotated[Path, typer.Argument(help="Folder of examples: images/, and depth/ beside it.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder to write the network to.", show_default=False)]
Steps = Annotated[int, typer.Option(help="Steps of the optimiser.", min=1)]
Batch = Annotated[int, typer.Option(help="Images in each step.", min=1)]
Rate = Annotated[float, typer.Option(help="Learning rate at the start; it falls to 0.", min=1e-9)]
Resolution = Annotated[
    int, typer.Option(help="Longer side of the images in pixels; 0 is the backbone's image size.", min=0)
]
View = Annotated[float, typer.Option(help="Vertical field of view of the images, in degrees.", min=1, max=170)]
Examples = Annotated[int, typer.Option(help="Maximum number of examples to use; 0 for all.", min=0)]
Half = Annotated[bool, typer.Option("--half", help="Write the weights as float16, in half the size.")]
Seed = Annotated[int, typer.Option(help="Seed of the order of examples.")]


def fit(
    prediction: Modality,
    folder: Path,
    out: Path,
    recipe: MarigoldRecipe,
    most: int,
    half: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """Fine-tune, write, and print the loss of the first and the last tenth of the steps."""
    check_folder_for_marigold(out)
    examples = DenseFolder(folder, "depth", most=most)
    model = open_engine(settings).model
    assert isinstance(model, StableDiffusion)
    losses: list[float] = []
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("fine-tuning", total=recipe.steps)

        def show_step(step: int, loss: float) -> None:
            losses.append(loss)
            bar.update(task, completed=step + 1, description=f"fine-tuning, loss {loss:.4f}")

        variant = fine_tune(model, prediction, examples, recipe, on_step=show_step)
    save_marigold(variant, model, prediction, out, recipe, half=half)
    tenth = max(1, len(losses) // 10)
    first, last = sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth
    count = len(examples.samples)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "examples": count, "first_loss": first, "last_loss": last}))
    else:
        typer.echo(f"wrote {out}: {count} examples, loss {first:.4f} to {last:.4f}")


@with_settings(without=("dtype",))
def depth_relative(
    folder: Folder,
    out: Out,
    *,
    steps: Steps = 4_000,
    batch: Batch = 16,
    learning_rate: Rate = 5e-4,
    resolution: Resolution = 0,
    part: Parts = None,
    examples: Examples = 0,
    half: Half = False,
    seed: Seed = 0,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit depth-relative runs/world/training --out mydepth
    DIFFSIGHT_HEADS__DEPTH_RELATIVE=mydepth diffsight serve

    Fine-tune the backbone's U-Net to predict depth up to scale and shift in a single step. With --part, the file holds
    only the trained parameters, and fits this backbone alone.
    """
    recipe = MarigoldRecipe(steps, batch, learning_rate, parts=tuple(part or ()), resolution=resolution, seed=seed)
    fit("depth", folder, out, recipe, examples, half, settings, as_json)


@with_settings(without=("dtype",))
def normals(
    folder: Folder,
    out: Out,
    *,
    field_of_view: View = FIELD_OF_VIEW,
    steps: Steps = 4_000,
    batch: Batch = 16,
    learning_rate: Rate = 5e-4,
    resolution: Resolution = 0,
    part: Parts = None,
    examples: Examples = 0,
    half: Half = False,
    seed: Seed = 0,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit normals runs/world/training --out mynormals
    DIFFSIGHT_HEADS__NORMALS=mynormals diffsight serve

    Fine-tune the backbone's U-Net to predict normals in a single step. The true normals are computed from depth. With
    --part, the file holds only the trained parameters, and fits this backbone alone.
    """
    recipe = MarigoldRecipe(
        steps,
        batch,
        learning_rate,
        parts=tuple(part or ()),
        resolution=resolution,
        field_of_view=field_of_view,
        seed=seed,
    )
    fit("normals", folder, out, recipe, examples, half, settings, as_json)
