"""`diffsight evaluate ...`: published measures on local data sets."""

from __future__ import annotations

import typer

from diffsight.cli.lazy_group import lazy_group

COMMANDS = {
    "few-shot": ("diffsight.cli.evaluate_few_shot:few_shot", "mIoU of segmentation by examples."),
    "pose": ("diffsight.cli.evaluate_pose:pose", "COCO AP of keypoints."),
    "depth": ("diffsight.cli.evaluate_dense:depth", "NYUv2's official test images, or a world."),
    "segmentation": ("diffsight.cli.evaluate_dense:segmentation", "ADE20K's validation images, or a world."),
    "referring": ("diffsight.cli.evaluate_dense:referring", "RefCOCO, RefCOCO+ or RefCOCOg, or a world."),
}

evaluate = typer.Typer(
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\ndiffsight evaluate pose val.json --images val\n\nMeasure a head on a local data set.",
)


@evaluate.callback()
def _evaluate() -> None:
    """One command a head."""
