"""`diffsight fit zero-shot`: the temperature that calibrates zero-shot probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from backbones.engine import DirectEngine, complete
from diffsight.cli.labelled_folder import list_labelled_files
from diffsight.cli.local import open_engine, print_table, progress, read_image, write_out
from diffsight.cli.options import AsJson, check_out, with_settings
from heads.diffusion_classifier.calibration import Calibration, fit_temperature_of
from heads.diffusion_classifier.model import ZeroShotModel, open_zero_shot
from heads.diffusion_classifier.zero_shot import ZeroShotOptions, describe_method, run_zero_shot
from heads.inputs import Inputs
from heads.results import Posterior
from service.settings.loader import Settings

LabelFolders = Annotated[
    Path,
    typer.Argument(
        help="Folder with a folder of images for each label. The folder's name is the label.", show_default=False
    ),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        help="Prompt template, in which {} stands for the label. Repeat the option for several.", metavar="TEXT"
    ),
]


@with_settings()
def zero_shot(
    *,
    folder: LabelFolders,
    out: Annotated[Path, typer.Option(help="File to write, .json.", metavar="FILE")],
    template: Templates = None,
    scheme: Annotated[
        Literal["schedule", "race", "both"], typer.Option(help="Scheme that the temperature is fitted for.")
    ] = "both",
    confidence: Annotated[
        float, typer.Option(help="Race: the option `confidence` of the task, up to 1.", min=0, max=1)
    ] = 0.95,
    combine: Annotated[
        Literal["mean", "best_prompt"], typer.Option(help="Race: how a label's templates are combined.")
    ] = "mean",
    schedule: Annotated[
        Literal["default", "published"], typer.Option(help="Schedule: the option `schedule` of the task.")
    ] = "default",
    loss: Annotated[
        Literal["l2", "l1", "huber"], typer.Option(help="How the error of the predicted noise is measured.")
    ] = "l2",
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit zero-shot pets --out pets.json --template "a photo of a {}, a type of pet."
    DIFFSIGHT_ZERO_SHOT_CALIBRATION=pets.json diffsight serve

    Classify FOLDER/cat/1.jpg, FOLDER/dog/2.jpg, ... with the names of the folders as labels, and fit the temperature
    for which the probabilities are calibrated. It applies to requests with the same options: scheme, confidence or
    schedule, and loss.
    """
    files = list_labelled_files(folder)
    check_out(out)
    engine = open_engine(settings, classes=True)
    model = open_zero_shot(engine.model, template=settings.zero_shot_template)
    shared: dict[str, Any] = {
        "labels": sorted({label for _, label in files}),
        "templates": template or list(model.templates),
        "loss": loss,
        "temperature": 1.0,
    }
    by_scheme = {
        "schedule": ZeroShotOptions(scheme="schedule", schedule=schedule, **shared),
        "race": ZeroShotOptions(scheme="race", confidence=confidence, combine=combine, **shared),
    }
    chosen = list(by_scheme.values()) if scheme == "both" else [by_scheme[scheme]]
    calibration = calibrate(engine, model, settings, files, chosen)
    write_out(out, (calibration.model_dump_json(indent=1) + "\n").encode())
    if as_json:
        typer.echo(calibration.model_dump_json())
    else:
        print_fits(calibration)
        typer.echo(f"wrote {out}")


def calibrate(
    engine: DirectEngine,
    model: ZeroShotModel,
    settings: Settings,
    files: Sequence[tuple[Path, str]],
    options_of_methods: Sequence[ZeroShotOptions],
) -> Calibration:
    """A temperature for each of the scoring methods, fitted to labelled files.

    files: with the label of each.
    Raises InvalidInput for a file that cannot be read.
    """
    labels = options_of_methods[0].labels
    truth = np.array([labels.index(label) for _, label in files], dtype=np.int64)
    fits = []
    by_file = classify_files(engine, model, settings, files, options_of_methods)
    for options, posteriors in zip(options_of_methods, zip(*by_file, strict=True), strict=True):
        if (method := describe_method(options)) is not None:
            logits = np.array([posterior.logits for posterior in posteriors])
            rows = float(np.mean([posterior.rows for posterior in posteriors]))
            fits.append(fit_temperature_of(method, logits, truth, rows))
    return Calibration(
        created=datetime.now(UTC),
        backbone=engine.backbone.name,
        revision=engine.backbone.revision,
        labels=tuple(labels),
        templates=tuple(options_of_methods[0].templates or ()),
        images=len(files),
        fits=tuple(fits),
    )


def classify_files(
    engine: DirectEngine,
    model: ZeroShotModel,
    settings: Settings,
    files: Sequence[tuple[Path, str]],
    options_of_methods: Sequence[ZeroShotOptions],
) -> list[list[Posterior]]:
    """Each file's posterior by each scoring method. Shows a progress bar.

    Raises InvalidInput for a file that cannot be read.
    """
    posteriors = []
    for path, _ in progress(files):
        inputs = Inputs([read_image(path, settings)])
        posteriors.append([complete(run_zero_shot(engine, model, inputs, options)) for options in options_of_methods])
    return posteriors


def print_fits(calibration: Calibration) -> None:
    """Print a table: the probability that answers claim before and after the fit, and the share of right answers."""
    rows = [
        (
            f"race at {fit.way.confidence:g}" if fit.way.scheme == "race" else f"schedule {fit.way.schedule}",
            f"{fit.temperature:.3g}",
            f"{fit.accuracy:.1%}",
            f"{fit.claimed:.1%}",
            f"{fit.claimed_before:.1%}",
            f"{fit.rows:,.0f}",
        )
        for fit in calibration.fits
    ]
    print_table(("answers of", "temperature", "right", "claimed", "claimed at 1", "rows"), rows, no_wrap=True)
