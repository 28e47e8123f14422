"""Fitted classifiers: their training vectors, how they are stored, and how an imported file is checked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from backbones.backbone import Description
from backbones.engine import Engine
from backbones.errors import Cancelled, InvalidInput
from heads.feature_pooling.fitted_head import (
    HeadClassifier,
    HeadPlan,
    check_plan,
    fit_published,
    head_from,
    head_shapes,
    map_shapes,
)
from heads.feature_pooling.logistic import LogisticClassifier, fit_logistic
from heads.feature_pooling.novelty import ClassGaussians
from heads.feature_pooling.preprocess import Fit
from service.library.store import Tensors

KIND = "classifier"


class FeatureOptions(BaseModel):
    """Options of features, the same for training images and for images to classify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: tuple[str, ...] = Field(min_length=1, max_length=64, description="diffusers names, in order of depth.")
    timesteps: tuple[int, ...] = Field(min_length=1, max_length=64)
    pool_size: int = Field(ge=1, le=64)
    noise_samples: int = Field(ge=0, le=64)
    fit: Fit


class HeadOptions(BaseModel):
    """A head of the published code instead of logistic regression, trained by its recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["linear", "mlp", "attention", "fusion"]
    channels: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(
        min_length=1, max_length=64, description="Of each block's feature map."
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(min_length=1, max_length=4)
    width: int = Field(ge=1, le=4096)
    attention_heads: int = Field(ge=1, le=64)
    depth: int = Field(ge=1, le=16)
    epochs: int = Field(ge=1, le=1000)

    def plan(self, features: FeatureOptions) -> HeadPlan:
        """The head over maps that were read so."""
        return HeadPlan(pool_size=features.pool_size, timesteps=len(features.timesteps), **self.model_dump())


class StrengthTried(BaseModel):
    """One strength of regularisation on held-out folds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strength: float
    log_loss: float
    balanced_accuracy: float


class About(BaseModel):
    """Metadata of a classifier, stored beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    name: str = Field(default="", max_length=200)
    created: AwareDatetime
    changed: AwareDatetime
    backbone: str = Field(max_length=1000)
    revision: str = Field(max_length=200, description="Digest of the backbone's weights.")
    features: FeatureOptions
    classes: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(min_length=2, max_length=10_000)
    images: tuple[int, ...] = Field(description="Images fitted on, one number a class.")
    validated: int = Field(ge=0)
    folds: int = Field(ge=0)
    accuracy: float | None
    balanced_accuracy: float | None
    confusion: tuple[tuple[int, ...], ...]
    recall: tuple[float | None, ...]
    log_loss: float | None
    strength: float | None
    tried: tuple[StrengthTried, ...]
    head: HeadOptions | None = Field(default=None, description="None for the logistic regression.")
    temperature: float = Field(gt=0)
    calibrated: bool
    threshold: float | None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVectors:
    """Vectors of labelled images. vectors: (N, D) float32. labels: N names. keys: (N, 16) uint8, of the pixels."""

    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    keys: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """A classifier as it is used. examples: None if its file came without them; it cannot grow then."""

    about: About
    model: LogisticClassifier | HeadClassifier
    examples: LabelledVectors | None

    @property
    def dimension(self) -> int:
        """Values of the vectors that it takes."""
        return len(self.model.mean) if isinstance(self.model, LogisticClassifier) else self.model.plan.dimension


def join_examples(
    old: LabelledVectors | None, new: LabelledVectors, *, without: Sequence[str] = ()
) -> tuple[LabelledVectors, int]:
    """Old and new examples, each image once, and how many new ones are duplicates.

    without: classes to leave out of the old ones.
    Raises InvalidInput for an image with two labels, and for a class to leave out that does not exist.
    """
    labels = old.labels if old is not None else ()
    for name in without:
        if name not in labels:
            raise InvalidInput(
                "remove_classes", f"there is no class {name!r}", hint="GET the classifier to see its classes"
            )
    kept = [index for index, label in enumerate(labels) if label not in set(without)]
    label_of = {old.keys[index].tobytes(): labels[index] for index in kept} if old is not None else {}
    added = []
    for index, label in enumerate(new.labels):
        key = new.keys[index].tobytes()
        if label_of.get(key, label) != label:
            raise InvalidInput(
                "labels",
                f"the same image has the labels {label_of[key]!r} and {label!r}",
                hint="send it with one label",
            )
        if key not in label_of:
            added.append(index)
        label_of[key] = label
    parts = [(new, added)] if old is None else [(old, kept), (new, added)]
    examples = LabelledVectors(
        np.concatenate([examples.vectors[chosen] for examples, chosen in parts if len(chosen)] or [new.vectors[:0]]),
        tuple(examples.labels[index] for examples, chosen in parts for index in chosen),
        np.concatenate([examples.keys[chosen] for examples, chosen in parts if len(chosen)] or [new.keys[:0]]),
    )
    return examples, len(new.labels) - len(added)


def fit_classifier(
    examples: LabelledVectors,
    features: FeatureOptions,
    backbone: Description,
    *,
    name: str,
    head: HeadOptions | None = None,
    created: datetime | None = None,
    stopped: threading.Event | None = None,
) -> Classifier:
    """A classifier fitted to the examples. head: None for the logistic regression.

    stopped: set when no request waits for it.
    Raises InvalidInput as `fit_logistic` and `fit_published` do, and Cancelled.
    """

    def check() -> None:
        if stopped is not None and stopped.is_set():
            raise Cancelled("no client waits for the classifier any more")

    classes = tuple(sorted(set(examples.labels)))
    places = {label: place for place, label in enumerate(classes)}
    labels = np.array([places[label] for label in examples.labels], dtype=np.int64)
    model: LogisticClassifier | HeadClassifier
    if head is None:
        model, report = fit_logistic(examples.vectors, labels, classes, check=check)
    else:
        model, report = fit_published(examples.vectors, labels, classes, head.plan(features), check=check)
    now = datetime.now(UTC)
    about = About(
        name=name,
        created=created or now,
        changed=now,
        backbone=backbone.name,
        revision=backbone.revision,
        features=features,
        classes=classes,
        head=head,
        temperature=model.temperature,
        calibrated=model.calibrated,
        threshold=model.threshold,
        **asdict(report) | {"confusion": tuple(map(tuple, report.confusion.tolist()))},
    )
    return Classifier(about, model, examples)


async def build_head_options(
    engine: Engine, kind: str, sizes: Mapping[str, Any], features: FeatureOptions
) -> HeadOptions | None:
    """The head of this kind over these features, checked; None for "logistic". sizes: hidden, width and the like.

    Raises InvalidInput for a head that does not fit the blocks, timesteps or pooling.
    """
    if kind == "logistic":
        return None
    shapes = await map_shapes(engine, features.blocks)
    channels = tuple(channels for channels, _ in shapes)
    try:
        head = HeadOptions.model_validate({"kind": kind, "channels": channels, **sizes})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput("head_options", f"{place}: {first['msg']}", hint="see /docs for their bounds") from error
    check_plan(head.plan(features), [side for _, side in shapes])
    return head


def as_tensors(classifier: Classifier, *, examples: bool = True) -> dict[str, NDArray[Any]]:
    """The arrays of a classifier by name, with or without its training vectors."""
    model = classifier.model
    tensors: dict[str, NDArray[Any]]
    if isinstance(model, HeadClassifier):
        tensors = {f"head.{name}": tensor.numpy() for name, tensor in model.head.state_dict().items()}
    else:
        tensors = {"mean": model.mean, "scale": model.scale, "weights": model.weights, "bias": model.bias}
    if model.gaussians is not None:
        gaussians = model.gaussians
        tensors |= {
            "gaussians.centres": gaussians.centres,
            "gaussians.axes": gaussians.axes,
            "gaussians.variances": gaussians.variances,
            "gaussians.rest": gaussians.rest,
        }
    if examples and classifier.examples is not None:
        kept = classifier.examples
        places = {label: place for place, label in enumerate(classifier.about.classes)}
        tensors |= {
            "examples.vectors": kept.vectors,
            "examples.labels": np.array([places[label] for label in kept.labels], dtype=np.int64),
            "examples.keys": kept.keys,
        }
    return tensors


def from_file(about: Mapping[str, Any], tensors: Tensors, *, field: str = "file") -> Classifier:
    """The classifier in a file, with all arrays checked. Raises InvalidInput, about `field`, if one is wrong."""
    read = read_about(about, field=field)
    model = _logistic(read, tensors, field) if read.head is None else _head(read, read.head, tensors, field)
    dimension = len(model.mean) if isinstance(model, LogisticClassifier) else model.plan.dimension
    if "examples.vectors" not in tensors:
        return Classifier(read, model, None)
    vectors = _read_tensor(tensors, "examples.vectors", np.float32, (-1, dimension), field)
    labels = _read_tensor(tensors, "examples.labels", np.int64, (len(vectors),), field)
    keys = _read_tensor(tensors, "examples.keys", np.uint8, (len(vectors), 16), field)
    count = len(read.classes)
    if ((labels < 0) | (labels >= count)).any() or set(labels.tolist()) != set(range(count)):
        raise _refuse(field, "its examples are not those of its classes")
    names = tuple(read.classes[label] for label in labels)
    return Classifier(read, model, LabelledVectors(vectors, names, keys))


def _head(read: About, head: HeadOptions, tensors: Tensors, field: str) -> HeadClassifier:
    plan = head.plan(read.features)
    if plan.kind in ("attention", "fusion") and plan.width % plan.attention_heads:
        raise _refuse(field, "its head's width cannot be divided among its attention heads")
    if read.threshold is not None:
        raise _refuse(field, "its head has a threshold")
    state = {
        name: torch.from_numpy(_read_tensor(tensors, f"head.{name}", np.float32, shape, field))
        for name, shape in head_shapes(plan, len(read.classes)).items()
    }
    trained = head_from(plan, len(read.classes), state)
    return HeadClassifier(read.classes, plan, trained, read.temperature, read.calibrated)


def _logistic(read: About, tensors: Tensors, field: str) -> LogisticClassifier:
    count = len(read.classes)
    dimension = _read_tensor(tensors, "mean", np.float32, (-1,), field).shape[0]
    scale = _read_tensor(tensors, "scale", np.float32, (dimension,), field)
    gaussians = None
    if read.threshold is not None:
        axes = _read_tensor(tensors, "gaussians.axes", np.float32, (-1, dimension), field)
        gaussians = ClassGaussians(
            _read_tensor(tensors, "gaussians.centres", np.float32, (count, dimension), field),
            axes,
            _read_tensor(tensors, "gaussians.variances", np.float32, (len(axes),), field),
            _read_tensor(tensors, "gaussians.rest", np.float32, (1,), field),
        )
        if (gaussians.variances <= 0).any() or gaussians.rest[0] <= 0:
            raise _refuse(field, "a variance is not above 0")
    if dimension < 1 or (scale <= 0).any():
        raise _refuse(field, "a scale is not above 0")
    return LogisticClassifier(
        read.classes,
        _read_tensor(tensors, "mean", np.float32, (dimension,), field),
        scale,
        _read_tensor(tensors, "weights", np.float32, (count, dimension), field),
        _read_tensor(tensors, "bias", np.float32, (count,), field),
        read.temperature,
        read.calibrated,
        gaussians,
        read.threshold,
    )


def read_about(about: Mapping[str, Any], *, field: str = "file") -> About:
    """The metadata of a classifier. Raises InvalidInput, about `field`, if it is not ours."""
    try:
        read = About.model_validate(about)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _refuse(field, f"{place}: {first['msg']}") from error
    count = len(read.classes)
    squares = len(read.confusion) == count and all(len(row) == count for row in read.confusion)
    if len(set(read.classes)) != count or len(read.images) != count or len(read.recall) != count or not squares:
        raise _refuse(field, f"its figures are not those of {count} classes")
    return read


def check_usable(about: About, backbone: Description) -> None:
    """Raises InvalidInput if the classifier was fitted on another network, whose vectors mean something else."""
    if about.revision != backbone.revision:
        raise InvalidInput(
            KIND,
            f"it was fitted on {about.backbone!r} with weights {about.revision}; this server has {backbone.name!r} "
            f"with {backbone.revision}",
            hint="fit it again on this server, or use a server with that backbone",
        )


def _read_tensor(tensors: Tensors, name: str, dtype: Any, shape: tuple[int, ...], field: str) -> NDArray[Any]:
    """The tensor of this name, which has this number type and shape (-1: any length) and is finite."""
    tensor = tensors.get(name)
    if tensor is None:
        raise _refuse(field, f"it has no tensor {name!r}")
    fits = len(tensor.shape) == len(shape) and all(
        wanted in (-1, size) for wanted, size in zip(shape, tensor.shape, strict=True)
    )
    if tensor.dtype != dtype or not fits:
        raise _refuse(field, f"{name} is {tensor.dtype} {tensor.shape}, not {np.dtype(dtype)} {shape}")
    if not np.isfinite(tensor).all():
        raise _refuse(field, f"{name} holds NaN or infinity")
    return tensor


def _refuse(field: str, message: str) -> InvalidInput:
    return InvalidInput(
        field, f"this is not a classifier of this program: {message}", hint="send the file as it was exported"
    )
