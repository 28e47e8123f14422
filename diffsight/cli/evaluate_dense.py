"""`diffsight evaluate depth|segmentation|referring`: published figures over a data set on this machine."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from diffsight.cli.local import open_engine, open_head
from diffsight.cli.options import AsJson, with_settings
from heads.vpd.heads import DenseTask
from service.settings.loader import Settings
from service.tasks import TASKS, find_task
from training.datasets.dense_folder import DenseFolder
from training.datasets.public_dense import ade_samples, nyu_samples, refcoco_samples
from training.evaluate_dense import evaluate_depth, evaluate_referring, evaluate_segmentation, world_samples

Folder = Annotated[Path, typer.Argument(help="The data set; docs/heads.md shows its layout.", show_default=False)]
HeadFile = Annotated[
    str | None,
    typer.Option("--head", help="A fitted head, a published checkpoint, or a name of `diffsight models list`."),
]
Most = Annotated[int, typer.Option(help="Maximum number of samples to measure; 0 for all.", min=0)]


@with_settings()
def depth(
    folder: Folder,
    *,
    layout: Annotated[Literal["nyu", "world"], typer.Option(help="Layout of the folder.")] = "nyu",
    protocol: Annotated[
        Literal["fast", "published"], typer.Option(help="One pass over the whole image, or windows with mirror images.")
    ] = "fast",
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate depth nyu_depth_v2/official_splits/test --protocol published

    Measure the published depth figures, in the Eigen crop.
    """
    engine, chosen = _open("depth", head, settings)
    samples = nyu_samples(folder) if layout == "nyu" else world(folder, "depth")
    figures = evaluate_depth(engine, chosen, first_samples(samples, most), protocol=protocol, eigen=layout == "nyu")
    print_figures(figures, as_json)


@with_settings()
def segmentation(
    folder: Folder,
    *,
    layout: Annotated[Literal["ade20k", "world"], typer.Option(help="Layout of the folder.")] = "ade20k",
    protocol: Annotated[
        Literal["fast", "slide", "multiscale"],
        typer.Option(help="One pass over the whole image, windows, or windows at five scales."),
    ] = "slide",
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate segmentation ADEChallengeData2016

    Measure mIoU as mmsegmentation computes it.
    """
    engine, chosen = _open("segmentation", head, settings)
    samples = ade_samples(folder) if layout == "ade20k" else world(folder, "segmentation")
    figures = evaluate_segmentation(engine, chosen, first_samples(samples, most), protocol=protocol)
    print_figures(figures, as_json)


@with_settings()
def referring(
    folder: Folder,
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder of COCO's train2014; unset for a world.", show_default=False)
    ] = None,
    split_by: Annotated[str, typer.Option(help="unc for RefCOCO and RefCOCO+, umd for RefCOCOg.")] = "unc",
    split: Annotated[str, typer.Option(help="val, testA, testB or test.")] = "val",
    most: Most = 0,
    head: HeadFile = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate referring refcoco --images coco/train2014 --split testA

    Measure oIoU, mean IoU and precisions. The pickle file of references is read safely: only plain values are allowed
    in it.
    """
    engine, chosen = _open("referring", head, settings)
    samples = (
        world(folder, "referring")
        if images is None
        else refcoco_samples(folder, images, split_by=split_by, split=split)
    )
    print_figures(evaluate_referring(engine, chosen, first_samples(samples, most)), as_json)


def _open(name: DenseTask, weights: str | None, settings: Settings) -> tuple[DirectEngine, Any]:
    """The settings' backbone, and the head of a task over it."""
    engine = open_engine(settings)
    task = find_task(TASKS, name)
    assert task is not None
    return engine, open_head(settings, engine, task, weights)


def world(folder: Path, task: DenseTask) -> Any:
    """The samples of a folder in the layout of the rendered world."""
    return world_samples(DenseFolder(folder, task))


def first_samples(samples: Any, most: int) -> Any:
    """The first samples, or all for 0."""
    return islice(samples, most) if most else samples


def print_figures(figures: dict[str, float], as_json: bool) -> None:
    """Print a line a figure, or JSON. Raises InvalidInput if there are none."""
    if not figures:
        raise InvalidInput("folder", "no sample could be measured", hint="docs/heads.md shows the layout")
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        typer.echo(f"{name:<12} {value:.4f}")
