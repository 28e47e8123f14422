"""Every task of the service. A new one is a folder under `heads/`, a folder of tests, and a line here."""

from __future__ import annotations

from typing import Any

from heads.diffusion_classifier import image_text, label_tree, zero_shot
from heads.feature_pooling import features
from heads.marigold import depth as marigold_depth
from heads.marigold import normals
from heads.sdpose import pose
from heads.task import Task
from heads.vpd import depth, referring, segmentation
from service.library import classifier, few_shot

AnyTask = Task[Any, Any, Any]

TASKS: tuple[AnyTask, ...] = (
    depth.TASK,
    segmentation.TASK,
    referring.TASK,
    marigold_depth.TASK,
    normals.TASK,
    pose.TASK,
    few_shot.TASK,
    zero_shot.TASK,
    label_tree.TASK,
    image_text.TASK,
    features.TASK,
    classifier.TASK,
)


def find_task(tasks: tuple[AnyTask, ...], name: str) -> AnyTask | None:
    """The task of this name, None if there is none."""
    return next((task for task in tasks if task.name == name), None)
