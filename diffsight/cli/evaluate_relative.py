"""`diffsight evaluate depth-relative|normals`: Marigold's figures over a data set on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from diffsight.cli.evaluate_dense import Folder, HeadFile, Most, first_samples, print_figures, world
from diffsight.cli.local import open_engine, open_head
from diffsight.cli.options import AsJson, with_settings
from heads.inputs import InputCounts
from heads.marigold.depth import TASK, RelativeDepthOptions, complete_relative_depth
from heads.marigold.normals import TASK as NORMALS
from heads.marigold.normals import NormalsOptions, complete_normals
from heads.task import Task
from service.models.catalogue import choose_for
from service.settings.loader import Settings
from training.datasets.depth_normals import FIELD_OF_VIEW
from training.datasets.public_dense import nyu_samples
from training.evaluate_relative import evaluate_normals, evaluate_relative_depth

Steps = Annotated[int, typer.Option(help="Number of denoising steps; 0 is the model's default.", min=0, max=50)]
EnsembleSize = Annotated[
    int, typer.Option(help="Predictions for each image that are combined. The published figures use 10.", min=1, max=20)
]
Resolution = Annotated[int | None, typer.Option(help="Longer side in pixels. Default: the model's own.", min=0)]


@with_settings()
def depth_relative(
    folder: Folder,
    *,
    layout: Annotated[Literal["nyu", "world"], typer.Option(help="Layout of the folder.")] = "nyu",
    steps: Steps = 0,
    ensemble_size: EnsembleSize = 1,
    resolution: Resolution = None,
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate depth-relative nyu_depth_v2/official_splits/test --ensemble-size 10

    Measure AbsRel (abs_rel) and delta 1 (d1) of depth that is aligned with the truth by scale and shift, in the Eigen
    crop.
    """
    engine, model = _open(TASK, head, settings)
    options = RelativeDepthOptions(steps=steps or None, ensemble_size=ensemble_size, resolution=resolution)
    options = complete_relative_depth(options, model, InputCounts(), settings.limits)
    samples = nyu_samples(folder) if layout == "nyu" else world(folder, "depth")
    figures = evaluate_relative_depth(engine, model, first_samples(samples, most), options, eigen=layout == "nyu")
    if not figures.get("n_valid"):
        raise InvalidInput("folder", "no pixel could be measured", hint="docs/heads.md shows the layout")
    print_figures(figures, as_json)


@with_settings()
def normals(
    folder: Folder,
    *,
    field_of_view: Annotated[
        float, typer.Option(help="Vertical field of view of the images, in degrees.", min=1, max=170)
    ] = FIELD_OF_VIEW,
    steps: Steps = 0,
    ensemble_size: EnsembleSize = 1,
    resolution: Resolution = None,
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate normals training/world/held_out/scenes

    Measure angles in degrees to the true normals of a world, which are computed from its depth, and the shares of
    pixels whose angle is below 11.25, 22.5 and 30 degrees. `constant` is the result of predicting the mean true normal
    everywhere.
    """
    engine, model = _open(NORMALS, head, settings)
    options = NormalsOptions(steps=steps or None, ensemble_size=ensemble_size, resolution=resolution)
    options = complete_normals(options, model, InputCounts(), settings.limits)
    samples = first_samples(world(folder, "depth"), most)
    print_figures(evaluate_normals(engine, model, samples, options, field_of_view), as_json)


def _open(task: Task[Any, Any, Any], head: str | None, settings: Settings) -> tuple[DirectEngine, Any]:
    """A backbone, and the head of a task over it: the named ones, else those that a server would choose."""
    source = None
    if head is None:
        source, head = choose_for(settings, task.name)
    engine = open_engine(settings, source)
    return engine, open_head(settings, engine, task, head)
