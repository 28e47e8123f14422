"""`diffsight evaluate depth-relative`: depth up to scale and shift over a data set on this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.evaluate_dense import Folder, HeadFile, Most, first_samples, print_figures, world
from diffsight.cli.local import open_engine, open_head
from diffsight.cli.options import AsJson, with_settings
from heads.inputs import InputCounts
from heads.marigold.depth import TASK, RelativeDepthOptions, complete_relative_depth
from service.models.catalogue import choose_for
from service.settings.loader import Settings
from training.datasets.public_dense import nyu_samples
from training.evaluate_relative import evaluate_relative_depth


@with_settings()
def depth_relative(
    folder: Folder,
    *,
    layout: Annotated[Literal["nyu", "world"], typer.Option(help="How the folder is laid out.")] = "nyu",
    steps: Annotated[int, typer.Option(help="Steps of denoising; 0 is the model's own.", min=0, max=50)] = 0,
    ensemble_size: Annotated[int, typer.Option(help="Predictions an image; published: 10.", min=1, max=20)] = 1,
    resolution: Annotated[int | None, typer.Option(help="Longer side; unset is the model's own.", min=0)] = None,
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate depth-relative nyu_depth_v2/official_splits/test --ensemble-size 10

    AbsRel (abs_rel) and delta 1 (d1) of depth that is aligned with the truth by scale and shift, in the Eigen crop.
    """
    source = None
    if head is None:
        source, head = choose_for(settings, TASK.name)
    engine = open_engine(settings, source)
    model = open_head(settings, engine, TASK, head)
    options = RelativeDepthOptions(steps=steps or None, ensemble_size=ensemble_size, resolution=resolution)
    options = complete_relative_depth(options, model, InputCounts(), settings.limits)
    samples = nyu_samples(folder) if layout == "nyu" else world(folder, "depth")
    figures = evaluate_relative_depth(engine, model, first_samples(samples, most), options, eigen=layout == "nyu")
    if not figures.get("n_valid"):
        raise InvalidInput("folder", "no pixel could be measured", hint="look at docs/heads.md for the layout")
    print_figures(figures, as_json)
