"""`diffsight fit zero-shot`: the temperature at which zero-shot probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.local import open_engine, progress, read_image
from diffsight.cli.predict import zero_shot_plan
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from backbones.engine import DirectEngine
    from heads.results import Posterior
    from heads.diffusion_classifier.calibration import Calibration
    from service.settings.loader import Settings


def zero_shot(
    folder: Annotated[
        Path, typer.Argument(help="Folder with one folder of images a label, named as the label.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File to write, .json.", metavar="FILE")],
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the label; may be repeated.", metavar="TEXT")
    ] = None,
    scheme: Annotated[
        Literal["schedule", "race", "both"], typer.Option(help="Whose answers the temperature is for.")
    ] = "both",
    confidence: Annotated[float, typer.Option(help="Race: how sure to be, up to 1.", min=0, max=1)] = 0.95,
    combine: Annotated[
        Literal["mean", "best_prompt"], typer.Option(help="Race: how a label's templates are put together.")
    ] = "mean",
    schedule: Annotated[Literal["default", "published"], typer.Option(help="Schedule: how much work.")] = "default",
    loss: Annotated[Literal["l2", "l1", "huber"], typer.Option(help="How the noise error is measured.")] = "l2",
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit zero-shot pets --out pets.json --template "a photo of a {}, a type of pet."
    DIFFSIGHT_ZERO_SHOT_CALIBRATION=pets.json diffsight serve

    Classify FOLDER/cat/1.jpg, FOLDER/dog/2.jpg, ... by the names of the folders, and find the temperature at which the
    probabilities fit the truth. It holds for answers found in the same way: scheme, confidence or schedule, and loss.
    """
    from diffsight.cli.fit_classifier import write
    from diffsight.cli.labelled_folder import labelled_files

    files = labelled_files(folder)
    settings = load_settings(config, backbone=backbone, device=device, dtype=dtype)
    if not out.parent.is_dir():
        raise InvalidInput("--out", f"there is no folder {out.parent}", hint="create it, or name another file")
    engine = open_engine(settings, classes=True)

    from service.models.loading import default_templates

    templates = tuple(template or default_templates(settings))
    labels = tuple(sorted({label for _, label in files}))
    hypotheses = len(labels) * len(templates)
    plans = []
    if scheme != "race":
        plans.append(zero_shot_plan(hypotheses, "schedule", schedule, loss))
    if scheme != "schedule":
        plans.append(zero_shot_plan(hypotheses, "race", None, loss, confidence=confidence, combine=combine))

    from datetime import UTC, datetime

    import numpy as np

    from heads.diffusion_classifier.calibration import Calibration, fit_way

    truth = np.array([labels.index(label) for _, label in files], dtype=np.int64)
    found = answers(engine, settings, files, labels, templates, [plan for plan, _ in plans])
    made = Calibration(
        created=datetime.now(UTC),
        backbone=engine.backbone.name,
        revision=engine.backbone.revision,
        labels=labels,
        templates=templates,
        images=len(files),
        fits=tuple(
            fit_way(
                way,
                np.array([one.logits for one in of_way]),
                truth,
                float(np.mean([one.rows for one in of_way])),
            )
            for (_, way), of_way in zip(plans, zip(*found, strict=True), strict=True)
            if way is not None
        ),
    )
    write(out, (made.model_dump_json(indent=1) + "\n").encode())
    if as_json:
        typer.echo(made.model_dump_json())
        return
    print_fits(made)
    typer.echo(f"wrote {out}")


def answers(
    engine: DirectEngine,
    settings: Settings,
    files: Sequence[tuple[Path, str]],
    labels: Sequence[str],
    templates: Sequence[str],
    plans: Sequence[Callable[..., Coroutine[Any, Any, Posterior]]],
) -> list[list[Posterior]]:
    """Each file's posterior by each plan, behind a progress bar. Raises InvalidInput for one that can not be read."""
    from backbones.engine import complete

    found = []
    for path, _ in progress(files):
        picture = read_image(path, settings)
        found.append([complete(plan(engine, picture.array, labels, templates=templates)) for plan in plans])
    return found


def print_fits(made: Calibration) -> None:
    """A table: what probabilities claimed before and after, and how often answers were right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("answers of", "temperature", "right", "claimed", "claimed at 1", "rows"):
        table.add_column(name, justify="left" if name == "answers of" else "right", no_wrap=True)
    for fit in made.fits:
        way = fit.way
        told = f"race at {way.confidence:g}" if way.scheme == "race" else f"schedule {way.schedule}"
        table.add_row(
            told,
            f"{fit.temperature:.3g}",
            f"{fit.accuracy:.1%}",
            f"{fit.claimed:.1%}",
            f"{fit.claimed_before:.1%}",
            f"{fit.rows:,.0f}",
        )
    Console(highlight=False, markup=False).print(table)
