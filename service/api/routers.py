"""All routers of the app. A new task is one file and one line here."""

from __future__ import annotations

from service.api import (
    classifiers,
    classify,
    concepts,
    depth,
    duplicates,
    features,
    few_shot,
    health,
    jobs,
    label_tree,
    matching,
    models,
    perceive,
    pose,
    segmentation,
    zero_shot,
)
from service.protocols import label_studio

ROUTERS = (
    zero_shot.router,
    label_tree.router,
    matching.router,
    classifiers.router,
    classify.router,
    features.router,
    few_shot.router,
    concepts.router,
    depth.router,
    segmentation.router,
    pose.router,
    perceive.router,
    jobs.router,
    duplicates.router,
    label_studio.router,
    models.router,
    health.router,
)
