"""The task `classifier`: which of a fitted classifier's classes each image is of, if any."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.feature_pooling.features import open_features
from heads.inputs import DecodedImage, ImageAnswer, InputCounts, Inputs, describe_image
from heads.task import BackboneHead, Limits, Options, Task
from service.engine.caches import TensorCache
from service.library.classifiers import Classifier, check_usable, from_file, read_about
from service.library.library import Library
from service.library.store import unpack
from service.library.vectors import Vectors, vectors_of_images


class ClassifyOptions(Options):
    """The classifier, and how many classes to return."""

    classifier: str = Field(default="", max_length=4096, description="Id of the classifier, from POST /v1/classifiers.")
    top: int = Field(
        default=5, ge=1, le=10_000, description="Number of classes to return for each image, most likely first."
    )


class Score(BaseModel):
    """A class with its probability."""

    label: str
    probability: float


class ImageClass(BaseModel):
    """The classes of one image."""

    label: str = Field(description="The most likely class.")
    probability: float = Field(description="Probability of `label`, for equal prior probabilities of all classes.")
    known: bool | None = Field(
        description="false: the image is unlike the training images of every class. null: the classifier "
        "has no threshold to decide it."
    )
    novelty: float | None = Field(
        description="How much the image differs from the training images: about 1 for an image like them, "
        "larger for others."
    )
    scores: list[Score]
    image: ImageAnswer


class ClassifyResult(BaseModel):
    """One answer for each image, in the order of the request."""

    answers: list[ImageClass]
    classifier: str
    name: str
    calibrated: bool = Field(description="Whether the probabilities are calibrated on held-out images.")
    threshold: float | None = Field(description="Images with a larger novelty have `known` false.")


@dataclass(frozen=True, slots=True, eq=False)
class ClassifierHead:
    """A fitted classifier, as of the start of the work. id: of the classifier. revision: of its file."""

    id: str
    classifier: Classifier
    vectors: TensorCache
    revision: str

    @property
    def name(self) -> str:
        """The classifier's name."""
        return self.classifier.about.name


def prepare_classifier(model: BackboneHead, options: ClassifyOptions, library: Library) -> ClassifierHead:
    """The classifier that the options name. Raises NothingStored, and InvalidInput for one of another backbone."""
    data, _ = library.classifiers.file(options.classifier)
    classifier = from_file(*unpack(data))
    check_usable(classifier.about, model.backbone)
    revision = hashlib.sha256(data).hexdigest()[:32]
    return ClassifierHead(options.classifier, classifier, library.vectors, revision)


def complete_classifier(
    options: ClassifyOptions, model: BackboneHead, counts: InputCounts, limits: Limits
) -> ClassifyOptions:
    """The options as they are. Raises InvalidInput if no classifier is named."""
    if not options.classifier:
        raise InvalidInput(
            "classifier", "the request names no classifier", hint="send the id from POST /v1/classifiers"
        )
    return options


def classifier_made_on(options: ClassifyOptions, library: Library) -> str | None:
    """The revision of the backbone that the options' classifier was fitted on. Raises NothingStored."""
    if not options.classifier:
        return None
    revision: str = read_about(library.classifiers.look(options.classifier).about).revision
    return revision


def classifier_rows(options: ClassifyOptions, head: ClassifierHead) -> int:
    """U-Net rows an image, as for fitting, without regard to cached vectors."""
    features = head.classifier.about.features
    return len(features.timesteps) * max(1, features.noise_samples)


async def run_classifier(
    engine: Engine, head: ClassifierHead, inputs: Inputs, options: ClassifyOptions, on_progress: object = None
) -> list[ImageClass]:
    """The class of each image; cached vectors cost nothing."""
    features = head.classifier.about.features
    vectors = await vectors_of_images(engine, head.vectors, inputs.images, features)
    if vectors.vectors.shape[1] != head.classifier.dimension:
        message = (
            f"it takes vectors of {head.classifier.dimension} values, and its blocks give {vectors.vectors.shape[1]}"
        )
        raise InvalidInput("classifier", message, hint="import it again as it was exported, or fit it again here")
    return await engine.run_on_host(classify_vectors, head.classifier, vectors, inputs.images, options.top)


def classify_vectors(
    classifier: Classifier, vectors: Vectors, images: Sequence[DecodedImage], top: int
) -> list[ImageClass]:
    """The class of each image, from its vector. top: number of classes to return."""
    model = classifier.model
    probabilities = model.probabilities(vectors.vectors)
    novelty = model.novelty(vectors.vectors)
    answers = []
    for place, (row, image) in enumerate(zip(probabilities, images, strict=True)):
        order = (-row).argsort(kind="stable")[:top].tolist()
        scores = [Score(label=model.classes[index], probability=float(row[index])) for index in order]
        measured = None if novelty is None else float(novelty[place])
        answers.append(
            ImageClass(
                label=scores[0].label,
                probability=scores[0].probability,
                known=None if measured is None or model.threshold is None else measured <= model.threshold,
                novelty=measured,
                scores=scores,
                image=describe_image(image),
            )
        )
    return answers


def answer_classifier(answers: list[ImageClass], head: ClassifierHead, options: ClassifyOptions) -> ClassifyResult:
    """The answers, with properties of the classifier."""
    about = head.classifier.about
    return ClassifyResult(
        answers=answers, classifier=head.id, name=about.name, calibrated=about.calibrated, threshold=about.threshold
    )


def classifier_item(answers: list[ImageClass], head: ClassifierHead, options: ClassifyOptions) -> dict[str, Any]:
    """A job's answer about one image."""
    return answers[0].model_dump(mode="json", exclude={"image"})


def classifier_line(answers: list[ImageClass]) -> str:
    """The class of each image, for people."""
    return ", ".join(
        f"{answer.label} {answer.probability:.1%}" + ("" if answer.known is not False else " (unlike every class)")
        for answer in answers
    )


TASK = Task(
    name="classifier",
    summary="Classify images by a fitted classifier",
    source="Diffusion Models Beat GANs on Image Classification (arXiv:2307.08702)",
    inputs="images",
    options=ClassifyOptions,
    answer=ClassifyResult,
    open=open_features,
    prepare=prepare_classifier,
    made_on=classifier_made_on,
    run=run_classifier,
    to_answer=answer_classifier,
    to_text=classifier_line,
    to_item=classifier_item,
    path="classify/{classifier}",
    exports=frozenset({"label-studio", "cvat"}),
    complete=complete_classifier,
    estimate_rows=classifier_rows,
    example={"top": 3},
    curl="-F image=@cat.jpg",
)
