"""`diffsight fit ...`: heads on the backbone's frozen features, from your own labelled data."""

from __future__ import annotations

from diffsight.cli.lazy_group import command_group

COMMANDS = {
    "few-shot": ("diffsight.cli.fit_few_shot:few_shot", "Fine-tune a U-Net for few-shot segmentation."),
    "pose": ("diffsight.cli.fit_pose:pose", "Train a keypoint head on a COCO keypoint file."),
    "classifier": ("diffsight.cli.fit_classifier:classifier", "Fit a classifier to a folder of images for each class."),
    "zero-shot": ("diffsight.cli.fit_zero_shot:zero_shot", "Fit the temperature of zero-shot posteriors."),
    "depth": ("diffsight.cli.fit_dense:depth", "Train a metric depth head on depth/NAME.png in millimetres."),
    "segmentation": (
        "diffsight.cli.fit_dense:segmentation",
        "Train a semantic segmentation head on semantic/NAME.png.",
    ),
    "referring": ("diffsight.cli.fit_dense:referring", "Train a referring segmentation head on referring.json."),
    "depth-relative": (
        "diffsight.cli.fit_marigold:depth_relative",
        "Fine-tune a U-Net for depth up to scale and shift.",
    ),
    "normals": (
        "diffsight.cli.fit_marigold:normals",
        "Fine-tune a U-Net for normals on depth/NAME.png in millimetres.",
    ),
}

fit = command_group(
    COMMANDS, "\b\ndiffsight fit pose train.json --images train --out mypose\n\nFit a head to your own labelled data."
)
