"""Bodies of /v1/classifiers: labelled images, and descriptions of classifiers."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backbones.errors import InvalidInput
from heads.feature_pooling.features import FeatureReading
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
    "One label for each image outside of a zip, in the same order. An image in a zip has the "
    "name of its folder as label: `cat/1.jpg` is a cat."
)


class ExamplesRequest(TaskRequest):
    """Images with a label for each."""

    image: ImageBytes | None = Field(default=None, description="One image. Send several as `images`.")
    images: list[ImageBytes] | None = Field(default=None, min_length=1)
    labels: list[Label] | None = Field(default=None, description=_LABELS)
    priority: Literal["interactive", "bulk"] = Field(
        default="bulk", description="`bulk` work waits for `interactive` work, but always makes some progress."
    )

    def pair_labels(self, limits: LimitSettings) -> tuple[list[ImageSource], list[str]]:
        """Images and the label of each. Raises InvalidInput if they do not match or are too many."""
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
                hint="send `labels` once for each image, in the order of the images; or send a zip with a folder "
                "for each class",
            )
        rest = iter(labels)
        return images, [folder_of(image.name) if isinstance(image, ArchivedFile) else next(rest) for image in images]


class HeadRequest(BaseModel):
    """Sizes of a head other than `logistic`. The defaults are those of the published code."""

    model_config = ConfigDict(extra="forbid")

    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        default=[2048], min_length=1, max_length=4, description="Widths of the hidden layers of `mlp`."
    )
    width: int = Field(default=1024, ge=1, le=4096, description="Width of a token of `attention` and `fusion`.")
    attention_heads: int = Field(default=8, ge=1, le=64)
    depth: int = Field(default=2, ge=1, le=16, description="Number of transformer blocks.")
    epochs: int = Field(
        default=28,
        ge=1,
        le=1000,
        description="Passes over the images. The learning rate falls to a tenth after each quarter of them.",
    )


class ClassifierRequest(ExamplesRequest, FeatureReading):
    """Labelled images, and the kind of classifier to fit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"images": [EXAMPLE_IMAGE, OTHER_EXAMPLE_IMAGE], "labels": ["one", "dash"], "name": "strokes"}]
        }
    )

    name: str = Field(
        default="",
        max_length=200,
        description="A name for people to read. It need not be unique; the server chooses the id.",
    )
    job: str | None = Field(
        default=None,
        max_length=64,
        description="Id of a finished job of the task `features`. The classifier is fitted on the job's "
        "vectors: each image has the label of the folder it is in. The request may add further images; they "
        "are read with the job's options.",
    )
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"] = Field(
        default="logistic",
        description="Kind of classifier. `logistic` works from a handful of images up to thousands. The "
        "other heads are those of the published code, trained by plain gradient descent as published, and need "
        "many images. `attention` reads one block at one timestep as `pool_size` x `pool_size` tokens; "
        "`fusion` reads several blocks or timesteps.",
    )
    head_options: HeadRequest | None = Field(default=None, description="Sizes of a head other than `logistic`.")


class GrowRequest(ExamplesRequest):
    """Labelled images to add, of existing or new classes, and classes to remove."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE], "labels": ["one"]}]})

    remove_classes: list[Label] | None = Field(default=None, description="Classes to remove, with their images.")
    name: str | None = Field(default=None, max_length=200, description="The new name.")


class ClassAnswer(BaseModel):
    """One class of a classifier, with its cross-validated recall."""

    label: str
    images: int = Field(description="Number of different images of this class that the classifier was fitted on.")
    recall: float | None = Field(
        description="Share of the class's held-out images that were classified correctly; null for a class "
        "with a single image."
    )


class ClassifierAnswer(BaseModel):
    """A fitted classifier. Its figures come from cross-validation: each image is classified by a model that was not
    fitted on it.
    """

    id: str
    name: str
    created: str
    changed: str
    classes: list[ClassAnswer]
    accuracy: float | None = Field(
        description="Cross-validated share of images that were classified correctly; null if no class has two images."
    )
    balanced_accuracy: float | None = Field(description="Mean of the recalls of all classes.")
    confusion: list[list[int]] = Field(
        description="Counts of held-out images: rows are true classes, columns are predicted classes, both "
        "in the order of `classes`."
    )
    log_loss: float | None = Field(description="Cross-validated negative log-likelihood, all classes weighted equally.")
    validated: int = Field(description="Number of images that were held out once.")
    folds: int
    head: Literal["logistic", "linear", "mlp", "attention", "fusion"]
    head_options: HeadRequest | None = Field(description="Sizes of the head; null for `logistic`.")
    strength: float | None = Field(
        description="The inverse strength of the L2 penalty (C) that cross-validation chose; null for other heads."
    )
    tried: list[dict[str, float]] = Field(description="All strengths that were compared, on the same folds.")
    temperature: float = Field(description="Temperature that logits are divided by, fitted on held-out images.")
    calibrated: bool
    threshold: float | None = Field(
        description="Novelty above which an image counts as unknown, that is, in none of the classes. 5 % "
        "of held-out images have a larger novelty. null if there are too few images to estimate it."
    )
    blocks: list[str]
    timesteps: list[int]
    pool_size: int
    noise_samples: int
    fit: str
    backbone: str
    revision: str
    usable: bool = Field(description="Whether this server has the backbone that the classifier was fitted on.")
    can_grow: bool = Field(
        description="Whether images can be added. This needs the vectors that it was fitted on, which an "
        "export with `vectors=false` lacks."
    )
    bytes: int


class FittedAnswer(ClassifierAnswer):
    """A classifier that this request fitted, with the work it took."""

    duplicates: int = Field(
        description="Number of images in the request that the classifier already had under the same label."
    )
    rows: int = Field(description="Number of U-Net rows computed. Images whose vectors are still cached cost none.")
    timing: TimingAnswer


class ClassifiersAnswer(BaseModel):
    """All classifiers of the server, oldest first."""

    classifiers: list[ClassifierAnswer]


# Fields with another form in the answer than in the classifier's file.
_SAID_OTHERWISE = {"version", "created", "changed", "features", "classes", "images", "recall", "head"}


def classifier_answer(stored: Stored, revisions: Collection[str]) -> ClassifierAnswer:
    """The answer about a stored classifier.

    revisions: of this server's backbones.
    Raises InvalidInput if the stored object is not a classifier.
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
    # In composed letters (NFC): names from macOS and Linux are then equal.
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    if len(parts) < 2 or not parts[-2].strip():
        raise InvalidInput(
            name, "the file is in no folder", hint="zip a folder for each class, with its images inside: cat/1.jpg"
        )
    folder = parts[-2].strip()
    if len(folder) > 200:
        raise InvalidInput(
            name, "the folder's name has more than 200 characters", hint="give the folder a shorter name"
        )
    return folder
