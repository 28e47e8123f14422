"""`diffsight fit ...`: heads on the backbone's frozen features, from your own labelled data."""

from __future__ import annotations

import typer

from diffsight.cli.fit_classifier import classifier
from diffsight.cli.fit_dense import depth, referring, segmentation
from diffsight.cli.fit_few_shot import few_shot
from diffsight.cli.fit_pose import pose
from diffsight.cli.fit_zero_shot import zero_shot

fit = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Fit a head to your own labelled data.",
    help="\b\ndiffsight fit pose train.json --images train --out mypose\n\nFit a head to your own labelled data.",
)


@fit.callback()
def _fits() -> None:
    """One command a head."""


fit.command("few-shot", short_help="A U-Net for segmentation by examples.")(few_shot)
fit.command("pose", short_help="Keypoints, from a COCO keypoint file.")(pose)
fit.command("classifier", short_help="Tell classes apart, from a folder of images for each.")(classifier)
fit.command("zero-shot", short_help="The temperature of zero-shot posteriors, from labelled images.")(zero_shot)
fit.command("depth", short_help="Metric depth, from depth/NAME.png in millimetres.")(depth)
fit.command("segmentation", short_help="Semantic segmentation, from semantic/NAME.png.")(segmentation)
fit.command("referring", short_help="Masks of expressions, from referring.json and instances.json.")(referring)
