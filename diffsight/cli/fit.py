"""`diffsight fit ...`: heads on the backbone's frozen features, from your own labelled data."""

from __future__ import annotations

from diffsight.cli.lazy_group import command_group

COMMANDS = {
    "few-shot": ("diffsight.cli.fit_few_shot:few_shot", "A U-Net for segmentation by examples."),
    "pose": ("diffsight.cli.fit_pose:pose", "Keypoints, from a COCO keypoint file."),
    "classifier": ("diffsight.cli.fit_classifier:classifier", "Tell classes apart, from a folder of images for each."),
    "zero-shot": ("diffsight.cli.fit_zero_shot:zero_shot", "The temperature of zero-shot posteriors."),
    "depth": ("diffsight.cli.fit_dense:depth", "Metric depth, from depth/NAME.png in millimetres."),
    "segmentation": ("diffsight.cli.fit_dense:segmentation", "Semantic segmentation, from semantic/NAME.png."),
    "referring": ("diffsight.cli.fit_dense:referring", "Masks of expressions, from referring.json."),
    "depth-relative": ("diffsight.cli.fit_marigold:depth_relative", "A U-Net for depth up to scale and shift."),
    "normals": ("diffsight.cli.fit_marigold:normals", "A U-Net for normals, from depth/NAME.png in millimetres."),
}

fit = command_group(
    COMMANDS, "\b\ndiffsight fit pose train.json --images train --out mypose\n\nFit a head to your own labelled data."
)
