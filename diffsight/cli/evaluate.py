"""`diffsight evaluate ...`: published measures on local data sets."""

from __future__ import annotations

from diffsight.cli.lazy_group import command_group

COMMANDS = {
    "few-shot": ("diffsight.cli.evaluate_few_shot:few_shot", "mIoU of segmentation by examples."),
    "pose": ("diffsight.cli.evaluate_pose:pose", "COCO AP of keypoints."),
    "depth": ("diffsight.cli.evaluate_dense:depth", "NYUv2's official test images, or a world."),
    "depth-relative": ("diffsight.cli.evaluate_relative:depth_relative", "The same data, aligned by scale and shift."),
    "normals": ("diffsight.cli.evaluate_relative:normals", "Angles to the normals of a world's depth."),
    "segmentation": ("diffsight.cli.evaluate_dense:segmentation", "ADE20K's validation images, or a world."),
    "referring": ("diffsight.cli.evaluate_dense:referring", "RefCOCO, RefCOCO+ or RefCOCOg, or a world."),
}

evaluate = command_group(
    COMMANDS, "\b\ndiffsight evaluate pose val.json --images val\n\nMeasure a head on a local data set."
)
