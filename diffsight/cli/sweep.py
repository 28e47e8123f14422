"""`diffsight sweep ...`: measure which settings suit your own images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from diffsight.cli.labelled_folder import list_labelled_files
from diffsight.cli.local import open_engine, progress
from diffsight.cli.options import AsJson, LabelledFolder, with_settings
from diffsight.sweep import draw, measure, recommend, sweep_blocks
from service.settings.loader import Settings

sweep = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Find the settings that suit your images best.",
    help="\b\ndiffsight sweep features pets --out sweep.png\n\nMeasure which settings suit your images.",
)


@sweep.callback()
def _sweeps() -> None:
    """One command for each kind of settings."""


@sweep.command("features", short_help="Compare blocks, timesteps and poolings for a classifier.")
@with_settings()
def features(
    folder: LabelledFolder,
    *,
    out: Annotated[Path, typer.Option(help="Picture file to write.", metavar="PNG")] = Path("sweep.png"),
    block: Annotated[
        list[str] | None,
        typer.Option(
            help="Block of the network: a number, or a diffusers name. Repeat the option for several. "
            "Default: the middle and the decoder.",
            metavar="BLOCK",
        ),
    ] = None,
    timestep: Annotated[
        list[int] | None,
        typer.Option(
            help="Timestep of the noise schedule. Repeat the option for several. Default: 20, 50, 100 and 200."
        ),
    ] = None,
    pool_size: Annotated[
        list[int] | None,
        typer.Option(
            help="Side of the grid that feature maps are averaged over. Repeat the option for several. "
            "Default: 1 and 2."
        ),
    ] = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight sweep features pets --out sweep.png

    Fit a classifier for every block, timestep and pooling, and print which is best in cross-validation, alone and
    together with other blocks of the same pass. The cost is a U-Net pass for each image, timestep and pooling; more
    blocks cost nothing.
    """
    files = list_labelled_files(folder)
    engine = open_engine(settings)
    names = sweep_blocks(block, engine.backbone.sub_blocks)
    sizes = [(step, size) for size in pool_size or (1, 2) for step in timestep or (20, 50, 100, 200)]
    points = [point for step, size in progress(sizes) for point in measure(engine, files, names, step, size, settings)]
    best = recommend(points)
    draw(out, points, best)
    if as_json:
        typer.echo(
            json.dumps({"out": str(out), "best": best.to_json(), "points": [point.to_json() for point in points]})
        )
        return
    typer.echo(f"best: accuracy {best.accuracy:.1%} on held-out images, log loss {best.log_loss:.3f}")
    options = "".join(f" --block {name}" for name in best.blocks)
    typer.echo(
        f"diffsight fit classifier {folder}{options} --timestep {best.timestep} --pool-size {best.pool_size} ..."
    )
    typer.echo(f"wrote {out}")
