"""The command line: one file a command. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

import diffsight
from backbones.errors import DiffsightError, InvalidInput
from diffsight.cli.annotate import annotate
from diffsight.cli.demo import demo
from diffsight.cli.duplicates import duplicates
from diffsight.cli.evaluate import evaluate
from diffsight.cli.fit import fit
from diffsight.cli.fit_classifier import predict_classifier
from diffsight.cli.keys import keys
from diffsight.cli.models import models
from diffsight.cli.predict import predict
from diffsight.cli.predict_dense import depth, referring, segmentation
from diffsight.cli.predict_few_shot import few_shot
from diffsight.cli.predict_label_tree import label_tree
from diffsight.cli.predict_pose import pose
from diffsight.cli.serve import serve
from diffsight.cli.sweep import sweep

app = typer.Typer(
    name="diffsight",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Serve the REST API.")(serve)
predict.command("label-tree", short_help="The way down a tree of thousands of labels.")(label_tree)
predict.command("few-shot", short_help="Masks of what other pictures show.")(few_shot)
predict.command(short_help="Keypoints of the persons in each image.")(pose)
predict.command("classifier", short_help="Which class of a classifier of yours.")(predict_classifier)
predict.command(short_help="Metres at every pixel.")(depth)
predict.command(short_help="The class of every pixel.")(segmentation)
predict.command(short_help="The masks that expressions name.")(referring)
app.add_typer(predict, name="predict")
app.add_typer(fit, name="fit")
app.add_typer(evaluate, name="evaluate")
app.add_typer(sweep, name="sweep")
app.command(short_help="Results for every image of a folder, in one durable job.")(annotate)
app.command(short_help="Images that are copies of each other, or nearly.")(duplicates)
app.add_typer(models, name="models")
app.add_typer(keys, name="keys")
app.command(short_help="Try the whole service once, on real files.")(demo)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"diffsight {diffsight.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """
    \b
    diffsight serve
    diffsight predict zero-shot cat.jpg --labels cat,dog

    Perception on frozen Stable Diffusion backbones.
    """


def main() -> None:
    """Run the command line. What diffsight raises on purpose becomes one line on standard error and exit status 2."""
    # torch's threads on the CPU wait for each other by spinning, which on a busy machine makes small networks a hundred
    # times slower. OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except DiffsightError as error:
        typer.echo(f"diffsight: {told(error)}", err=True)
        raise SystemExit(2) from None


def told(error: DiffsightError) -> str:
    """The error as one line, with the name of what it is about in front."""
    text = " ".join(str(error).split())
    return f"{error.field}: {text}" if isinstance(error, InvalidInput) and error.field not in text else text
