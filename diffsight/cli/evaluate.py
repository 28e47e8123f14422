"""`diffsight evaluate ...`: published measures on local data sets."""

from __future__ import annotations

import typer

from diffsight.cli.evaluate_dense import depth, referring, segmentation
from diffsight.cli.evaluate_few_shot import few_shot
from diffsight.cli.evaluate_pose import pose

evaluate = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Measure a head on a local data set.",
    help="\b\ndiffsight evaluate pose val.json --images val\n\nMeasure a head on a local data set.",
)


@evaluate.callback()
def _evaluates() -> None:
    """One command a head."""


evaluate.command("few-shot", short_help="mIoU of segmentation by examples.")(few_shot)
evaluate.command("pose", short_help="COCO AP of keypoints.")(pose)
evaluate.command("depth", short_help="NYUv2's official test images, or a world.")(depth)
evaluate.command("segmentation", short_help="ADE20K's validation images, or a world.")(segmentation)
evaluate.command("referring", short_help="RefCOCO, RefCOCO+ or RefCOCOg, or a world.")(referring)
