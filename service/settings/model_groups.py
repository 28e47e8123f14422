"""The groups of settings about the models of tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from backbones.loading.registry import NAME_PATTERN
from service.settings.groups import MIB, DType, Group


class ModelTable(Group):
    """One `[[models]]` table of the settings file: a model to serve beside those that were added."""

    id: str = Field(pattern=NAME_PATTERN, description="What requests name it by; no other model has it.")
    source: str = Field(
        default="",
        description="Where it lies: the name of a model that `diffsight models add` stored, or what `backbone` takes "
        "for a backbone, and for a model of a task what its own setting takes, such as `heads.depth`. Empty: the added "
        "model of this `id`.",
    )
    task: str = Field(default="", description="Its task. Empty: what it was added for, else it is a backbone.")
    backbone: str = Field(
        default="",
        description="For a model of a task, the `id` of the backbone that it runs on. Empty: the only one, or for an "
        "added model the first of the kind that it was fine-tuned from.",
    )
    pinned: bool = Field(default=False, description="Whether it never leaves the device's memory for others.")
    dtype: DType | None = Field(
        default=None, description="Number type of a backbone and of what runs on it. Unset: that of the server."
    )


class PoseSettings(Group):
    """Keypoints of persons."""

    checkpoint: str = Field(
        default="",
        description="The pose network: a folder of SDPose, the name of an added model, or a folder that "
        "`diffsight fit pose` wrote. Published networks need the Stable Diffusion 2.x that they were trained "
        "from as the backbone; a complete folder of SDPose can also serve as `backbone`. Empty: the network "
        "that ships for the backbone, if there is one.",
    )
    detector: str = Field(
        default="",
        description="Detector of persons for requests without boxes: folder or hub id of an "
        "object-detection model of transformers (such as `PekingU/rtdetr_r50vd`), an `.onnx` file of such a "
        "model or of a YOLO, or `segmentation`: connected parts of the segmentation head's class `person`. "
        "Empty: the whole image is one person; with the embedded `pocket`, its segmentation head is used.",
    )
    detector_threshold: float = Field(
        default=0.3, ge=0, le=1, description="Lowest score of a detected person, unless the request sets one."
    )
    keypoint_threshold: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="Lowest score of a keypoint that is drawn, or visible in COCO's format, unless the "
        "request sets one.",
    )
    max_persons: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Maximum number of persons in one request: boxes that it sends, or persons of the detector.",
    )
    crop_width: int = Field(
        default=768,
        ge=64,
        le=2048,
        multiple_of=32,
        description="Width in pixels of the crop of a person for a published network. It was trained at "
        "768 x 1024; smaller is faster and less accurate.",
    )
    crop_height: int = Field(default=1024, ge=64, le=2048, multiple_of=32, description="Height in pixels of that crop.")


class FewShotSettings(Group):
    """Few-shot segmentation, and the banks of supports that it keeps."""

    weights: str | None = Field(
        default=None,
        min_length=1,
        description="Fine-tuned U-Net: a folder in DiffewS's own layout, a folder that `diffsight fit "
        "few-shot` wrote, or the name of an added model. Unset: none; the embedded `pocket` brings its own.",
    )
    image_size: int | None = Field(
        default=None,
        ge=64,
        le=2048,
        multiple_of=64,
        description="Side in pixels of the square that images are resized to; unset is the published 512, "
        "or a small backbone's own size.",
    )
    bank_form: Literal["keys_values", "hidden_states"] = Field(
        default="keys_values",
        description="What is stored of a support image. `hidden_states` takes half the memory and gives "
        "the same masks, for some 3 % more work for each query and support.",
    )
    device_cache_bytes: int = Field(
        default=1024 * MIB,
        ge=0,
        description="Bytes of banks kept on the device; 0 keeps none there. Of a concept that is larger, what fits "
        "stays there, and each request brings the rest from the host's memory.",
    )
    host_cache_bytes: int = Field(
        default=2048 * MIB, ge=0, description="Bytes of banks kept in the host's memory, once the device's are full."
    )
    disk_cache_bytes: int = Field(
        default=8192 * MIB, ge=0, description="Bytes of the banks of concepts kept in `data_folder`, for restarts."
    )


class HeadSettings(Group):
    """Dense heads. docs/heads.md and docs/marigold.md tell how to come by one."""

    depth: str = Field(
        default="",
        description="The depth head: a file that `diffsight fit depth` wrote, VPD's published checkpoint, "
        "or the name of an added model. Empty: the head that ships for the backbone, if there is one.",
    )
    segmentation: str = Field(default="", description="The segmentation head, with the same choices as `depth`.")
    referring: str = Field(default="", description="The referring head, with the same choices as `depth`.")
    depth_relative: str = Field(
        default="",
        description="The network of relative depth: a folder in Marigold's layout, a folder that "
        "`diffsight fit depth-relative` wrote, or the name of an added model.",
    )
    normals: str = Field(default="", description="The network of normals, with the same choices as `depth_relative`.")
