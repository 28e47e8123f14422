"""`diffsight evaluate ...`: published measures on local data sets."""

from __future__ import annotations

from diffsight.cli.lazy_group import command_group

COMMANDS = {
    "few-shot": ("diffsight.cli.evaluate_few_shot:few_shot", "Measure mIoU of few-shot segmentation."),
    "pose": ("diffsight.cli.evaluate_pose:pose", "Measure COCO AP of keypoints."),
    "depth": (
        "diffsight.cli.evaluate_dense:depth",
        "Measure metric depth on NYUv2's official test images, or on a world.",
    ),
    "depth-relative": (
        "diffsight.cli.evaluate_relative:depth_relative",
        "Measure depth up to scale and shift on the same data.",
    ),
    "normals": ("diffsight.cli.evaluate_relative:normals", "Measure normals on a world: angles to the true normals."),
    "segmentation": (
        "diffsight.cli.evaluate_dense:segmentation",
        "Measure semantic segmentation on ADE20K's validation images, or on a world.",
    ),
    "referring": (
        "diffsight.cli.evaluate_dense:referring",
        "Measure referring segmentation on RefCOCO, RefCOCO+ or RefCOCOg, or on a world.",
    ),
}

evaluate = command_group(
    COMMANDS, "\b\ndiffsight evaluate pose val.json --images val\n\nMeasure a head on a local data set."
)
