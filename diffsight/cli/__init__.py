"""The command line: one file a command, imported only to run that command, so that `--help` is fast."""

from __future__ import annotations

import os
from typing import Annotated

import typer

import diffsight
from backbones.errors import DiffsightError, InvalidInput
from diffsight.cli.lazy_group import lazy_group

COMMANDS = {
    "serve": ("diffsight.cli.serve:serve", "Serve the REST API."),
    "playground": ("diffsight.cli.playground:playground", "Serve a web page on which to try a server."),
    "predict": ("diffsight.cli.predict:predict", "Run a task in this process, without a server."),
    "fit": ("diffsight.cli.fit:fit", "Train a head on your own labelled data."),
    "evaluate": ("diffsight.cli.evaluate:evaluate", "Measure the accuracy of a head on a local data set."),
    "sweep": ("diffsight.cli.sweep:sweep", "Find the settings that suit your images best."),
    "annotate": ("diffsight.cli.annotate:annotate", "Run a task on every image of a folder, as a durable job."),
    "duplicates": ("diffsight.cli.duplicates:duplicates", "Find images that are copies of each other, or nearly so."),
    "models": ("diffsight.cli.models:models", "Add, list, check and remove published models."),
    "doctor": ("diffsight.cli.doctor:doctor", "Check this machine, the settings, and every head's answers."),
    "keys": ("diffsight.cli.keys:keys", "Create, list and revoke API keys."),
    "demo": ("diffsight.cli.demo:demo", "Start a server and try every task on real files."),
}

app = typer.Typer(
    name="diffsight",
    cls=lazy_group(COMMANDS),
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
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
    """Run the command line. An error of diffsight's own becomes one line on standard error and exit status 2."""
    # torch's CPU threads wait by spinning, which makes small networks a hundred times slower on a busy machine. OpenMP
    # reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except DiffsightError as error:
        typer.echo(f"diffsight: {describe_error(error)}", err=True)
        raise SystemExit(2) from None


def describe_error(error: DiffsightError) -> str:
    """The error as one line, which begins with the name of the wrong value."""
    text = " ".join(str(error).split())
    return f"{error.field}: {text}" if isinstance(error, InvalidInput) and error.field not in text else text
