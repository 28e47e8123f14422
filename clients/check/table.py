"""The calls of generated Python clients: every task with a file, answered in JSON and as a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Made:
    """One call. tag, operation: as in the document. form: its schema. key: a required key of the answer.

    many: the image is sent as a list. supports: an image and its mask are also sent. picture: the answer is a PNG.
    """

    tag: str
    operation: str
    form: str
    key: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    many: bool = False
    supports: bool = False
    picture: bool = False


_LABELS = {"labels": ["a red thing", "a blue thing"]}
_CUP = {"expression": "the cup"}
_TASKS = {"tasks": '{"depth": {}}'}
FEW = "few_shot_segmentation"

CALLS = (
    Made("depth", "depth_upload", "DepthForm", "statistics"),
    Made("depth", "depth_png16", "DepthForm", picture=True),
    Made("depth", "depth_overlay", "DepthForm", picture=True),
    Made("segmentation", "segmentation_upload", "SegmentationForm", "segments"),
    Made("segmentation", "segmentation_polygons", "SegmentationForm", "segments"),
    Made("segmentation", "segmentation_png", "SegmentationForm", picture=True),
    Made("segmentation", "referring_upload", "ReferringForm", "masks", _CUP),
    Made("segmentation", "referring_png", "ReferringForm", "", _CUP, picture=True),
    Made("segmentation", f"{FEW}_upload", "FewShotForm", "concepts", supports=True),
    Made("segmentation", f"{FEW}_png", "FewShotForm", supports=True, picture=True),
    Made("pose", "pose_upload", "PoseForm", "persons"),
    Made("pose", "pose_coco", "PoseForm", "annotations"),
    Made("pose", "pose_overlay", "PoseForm", picture=True),
    Made("features", "features_upload", "FeaturesForm", "vectors", many=True),
    Made("classify", "zero_shot_upload", "ZeroShotForm", "posterior", _LABELS),
    Made(
        "match", "match_image_text_upload", "MatchForm", "scores", {"captions": ["a", "b"], "interval": 250}, many=True
    ),
    Made("jobs", "begin_job_upload", "JobForm", "id", {"task": "features"}, many=True),
)
"""`label-tree` and `perceive` take objects in their forms; the programs for each client send them."""
