"""Bodies of /v1/classifiers: labelled images, and what an answer says of a classifier."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backbones.errors import InvalidInput
from heads.feature_pooling.features import Block
from service.api.schemas import OTHER_EXAMPLE_IMAGE, TaskRequest, TimingAnswer
from service.http.openapi import EXAMPLE_IMAGE
from service.inputs.archives import ArchivedFile
from service.inputs.files import ImageSource
from service.inputs.request_body import ImageBytes
from service.library.classifiers import read_about
from service.library.store import Stored
from service.settings.groups import LimitSettings

Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
_LABELS = (
    "One label for each image that is sent on its own, in the same order. Images in a zip are labelled by the folder "
    "they are in: `cat/1.jpg` is a cat."
)


class ExamplesRequest(TaskRequest):
    """Labelled images."""

    image: ImageBytes | None = Field(default=None, description="One image; `images` takes several.")
    images: list[ImageBytes] | None = Field(default=None, min_length=1)
    labels: list[Label] | None = Field(default=None, description=_LABELS)
    priority: Literal["interactive", "bulk"] = Field(
        default="bulk", description="Bulk work yields to interactive work, and still always moves on."
    )

    def labelled(self, limits: LimitSettings) -> tuple[list[ImageSource], list[str]]:
        """Images and the label of each. Raises InvalidInput where they do not match or are too many."""
        images = [*([] if self.image is None else [self.image]), *(self.images or [])]
        if len(images) > limits.max_training_images:
            raise InvalidInput(
                "images",
                f"{len(images):,} images; one classifier takes {limits.max_training_images:,}",
                hint="send fewer, or raise the server's limits.max_training_images",
            )
        labels = list(self.labels or [])
        alone = sum(not isinstance(image, ArchivedFile) for image in images)
        if len(labels) != alone:
            raise InvalidInput(
                "labels",
                f"{len(labels)} labels for {alone} images outside of a zip",
                hint="send `labels` once for each image, in the order of the images; or a zip with a folder a class",
            )
        rest = iter(labels)
        return images, [folder_of(image.name) if isinstance(image, ArchivedFile) else next(rest) for image in images]


class HeadRequest(BaseModel):
    """Sizes of a released head; unset, those of the release."""

    model_config = ConfigDict(extra="forbid")

    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        default=[2048], min_length=1, max_length=4, description="Of `mlp`: widths of its hidden layers."
    )
    width: int = Field(default=1024, ge=1, le=4096, description="Of `attention` and `fusion`: width of a token.")
    attention_heads: int = Field(default=8, ge=1, le=64)
    depth: int = Field(default=2, ge=1, le=16, description="Transformer blocks.")
    epochs: int = Field(
        default=28, ge=1, le=1000, description="Passes over the images; the rate falls to a tenth after each quarter."
    )


class ClassifierRequest(ExamplesRequest):
    """Labelled images, and what to read of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"images": [EXAMPLE_IMAGE, OTHER_EXAMPLE_IMAGE], "labels": ["one", "dash"], "name": "strokes"}]
        }
    )

    name: str = Field(default="", max_length=200, description="For people; ids are the server's.")
    job: str | None = Field(
        default=None,
        max_length=64,
        description="A finished job of the task `features`, whose vectors are taken: images are labelled by the folder "
        "that they are in, and read as the job did. Further images may go with it.",
    )
    blocks: list[Block] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="As for /v1/features; unset takes what suits most images.",
    )
    timesteps: list[Annotated[int, Field(ge=0, le=100_000)]] = Field(
        default=[100], min_length=1, max_length=64, description="Noise levels. Each costs one row an image and noise."
    )
    pool_size: int = Field(default=1, ge=1, le=64, description="Maps are averaged over a grid of so many cells a side.")
    noise_samples: int = Field(default=1, ge=0, le=64, description="Noises to average over; 0 leaves images clean.")
    fit: Literal["crop", "pad", "squash"] = Field(default="crop", description="How images are made square.")
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"] = Field(
        default="logistic",
        description="`logistic` suits a handful of images up to thousands. The others are the released heads, trained "
        "as published: plain gradient descent, for many images. `attention` reads one block at one timestep as "
        "`pool_size` x `pool_size` tokens, `fusion` several of either.",
    )
    head_options: HeadRequest | None = Field(default=None, description="Sizes of a released head.")


class GrowRequest(ExamplesRequest):
    """Labelled images to add, of known classes or new ones; classes to leave out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE], "labels": ["one"]}]})

    remove_classes: list[Label] | None = Field(default=None, description="Classes to forget, with their images.")
    name: str | None = Field(default=None, max_length=200, description="A new name.")


class ClassAnswer(BaseModel):
    """One class and what cross-validation says of it."""

    label: str
    images: int = Field(description="Different images it was fitted on.")
    recall: float | None = Field(
        description="Share of its held-out images that were answered right; null with a single image."
    )


class ClassifierAnswer(BaseModel):
    """A classifier. Its figures are of images that were held out in turn from the model that answered them."""

    id: str
    name: str
    created: str
    changed: str
    classes: list[ClassAnswer]
    accuracy: float | None = Field(description="Cross-validated; null where no class has two images.")
    balanced_accuracy: float | None = Field(description="Mean of the classes' recalls.")
    confusion: list[list[int]] = Field(
        description="Rows are the truth, columns the answer, both in the order of `classes`."
    )
    log_loss: float | None = Field(description="Cross-validated, classes weighing alike.")
    validated: int = Field(description="Images that were held out once.")
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None = Field(description="Of a released head; null for `logistic`.")
    strength: float | None = Field(description="Chosen inverse strength of the L2 penalty (C); null for other heads.")
    tried: list[dict[str, float]] = Field(description="Every strength that was tried, on the same folds.")
    temperature: float = Field(description="What logits are divided by, fitted on held-out images.")
    calibrated: bool
    threshold: float | None = Field(
        description="An image of more novelty is of none of the classes: 5 % of held-out images are above it. null "
        "where too few images say how far apart those of one class may be."
    )
    blocks: list[str]
    timesteps: list[int]
    pool_size: int
    noise_samples: int
    fit: str
    backbone: str
    revision: str
    usable: bool = Field(description="Whether this server has the backbone that it was fitted on.")
    can_grow: bool = Field(description="Whether images can be added: its file has the vectors it was fitted on.")
    bytes: int


class FittedAnswer(ClassifierAnswer):
    """A classifier that was fitted just now, and what that took."""

    duplicates: int = Field(description="Images sent that were there already under the same label.")
    rows: int = Field(description="U-Net rows spent; images that were seen lately cost none.")
    timing: TimingAnswer


class ClassifiersAnswer(BaseModel):
    """All classifiers of this server, oldest first."""

    classifiers: list[ClassifierAnswer]


# What an answer says in another form than the classifier's file.
_SAID_OTHERWISE = {"version", "created", "changed", "features", "classes", "images", "recall", "head"}


def classifier_answer(stored: Stored, revisions: Collection[str]) -> ClassifierAnswer:
    """The answer about a stored classifier. revisions: of this server's backbones.

    Raises InvalidInput where what is stored is no classifier.
    """
    about = read_about(stored.about)
    as_kept = about.model_dump(
        exclude={"version", "created", "changed", "features", "classes", "images", "recall", "head"}
    )
    sizes = None if about.head is None else about.head.model_dump(mode="json", exclude={"kind", "channels"})
    return ClassifierAnswer(
        **as_kept,
        **about.features.model_dump(),
        id=stored.id,
        created=about.created.isoformat(timespec="seconds"),
        changed=about.changed.isoformat(timespec="seconds"),
        classes=[
            ClassAnswer(label=label, images=images, recall=recall)
            for label, images, recall in zip(about.classes, about.images, about.recall, strict=True)
        ],
        head="logistic" if about.head is None else about.head.kind,
        head_options=None if sizes is None else HeadRequest(**sizes),
        usable=about.revision in revisions,
        can_grow="examples.vectors" in stored.names,
        bytes=stored.bytes,
    )


def folder_of(name: str) -> str:
    """The class of a file in a zip or a job: the name of the folder it is in. Raises InvalidInput for one in none."""
    # In composed letters (NFC): as macOS and as Linux write a folder, it is one class.
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    if len(parts) < 2 or not parts[-2].strip():
        raise InvalidInput(
            name, "it lies in no folder", hint="zip one folder a class, with its images inside: cat/1.jpg"
        )
    folder = parts[-2].strip()
    if len(folder) > 200:
        raise InvalidInput(name, "the folder's name has more than 200 characters", hint="give it a shorter one")
    return folder
