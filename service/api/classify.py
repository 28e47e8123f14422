"""POST /v1/classify/{classifier}: which of a fitted classifier's classes each image is of, if any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from backbones.errors import InvalidInput
from service.api.answers import (
    BackboneAnswer,
    ImageAnswer,
    TimingAnswer,
    backbone_answer,
    image_answer,
    timing_answer,
)
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.api.classifiers import read_classifier
from service.api.features import names_of
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, ImageSource, TaskRequest, read_request
from service.models.loading import service_of
from service.requests import ask

if TYPE_CHECKING:
    from service.engine.session import Session
    from service.library.classifiers import Classifier

router = APIRouter(tags=["classification"])


class ClassifyRequest(TaskRequest):
    """Images, and how many classes to tell of each."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "top": 3}]})

    image: ImageBytes | None = Field(default=None, description="One image; `images` takes several.")
    images: list[ImageBytes] | None = Field(default=None, min_length=1)
    top: int = Field(default=5, ge=1, le=10_000, description="Classes told of each image, likeliest first.")

    @model_validator(mode="after")
    def _image_or_images(self) -> ClassifyRequest:
        if (self.image is None) == (self.images is None):
            raise PydanticCustomError("one_of", "Send either `image` or `images`")
        return self

    def files(self) -> list[ImageSource]:
        """All images, in the order sent."""
        return self.images or ([] if self.image is None else [self.image])


class Score(BaseModel):
    """One class and its probability."""

    label: str
    probability: float


class ImageClass(BaseModel):
    """What one image is."""

    label: str = Field(description="The likeliest class.")
    probability: float = Field(description="Classes count as equally likely beforehand.")
    known: bool | None = Field(
        description="false: it is unlike the images of every class, take no answer. null: nothing is known of that."
    )
    novelty: float | None = Field(description="How unlike them: about 1 for images like those fitted on.")
    scores: list[Score]
    image: ImageAnswer


class ClassifyAnswer(BaseModel):
    """One answer an image, in the order sent."""

    answers: list[ImageClass]
    classifier: str
    name: str
    calibrated: bool = Field(description="Whether probabilities were fitted to held-out images.")
    threshold: float | None = Field(description="Novelty above which an image is not known.")
    names: list[str] = Field(default=[], description="Path of each image in the zip that was sent.")
    rows: int = Field(description="U-Net rows spent.")
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/classify/{classifier}",
    summary="Which of a fitted classifier's classes",
    response_model=ClassifyAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(ClassifyRequest, curl="-F image=@cat.jpg"),
)
async def classify_fitted(request: Request, classifier: str) -> ClassifyAnswer:
    """By a classifier that was fitted with POST /v1/classifiers."""
    service = service_of(request)
    backbone = service.engine.model.description
    limits = service.settings.limits
    asked = await read_request(request, ClassifyRequest, limits)
    files = asked.files()
    if len(files) > limits.max_images:
        raise InvalidInput("images", f"{len(files)} images; one request takes {limits.max_images}", hint="send fewer")
    stored, read = await read_classifier(service, classifier)

    from service.library.classifiers import check_usable
    from service.library.vectors import vectors_of_images

    # From here on the classifier is in memory: who deletes or changes it now does not disturb this request.
    check_usable(read.about, backbone)

    async def classified(engine: Session, images: Sequence[DecodedImage]) -> tuple[list[ImageClass], int]:
        vectors, _ = await vectors_of_images(engine, service.vectors, images, read.about.features)
        answers = await engine.run_on_host(image_classes, read, vectors, images, asked.top)
        return answers, engine.rows

    answers, rows = await ask(
        request, "classify", files, classified, bulk=asked.priority == "bulk", deadline_seconds=asked.deadline_seconds
    )
    return ClassifyAnswer(
        answers=answers,
        classifier=stored.id,
        name=read.about.name,
        calibrated=read.about.calibrated,
        threshold=read.about.threshold,
        names=names_of(files),
        rows=rows,
        backbone=backbone_answer(backbone),
        timing=timing_answer(request),
    )


def image_classes(
    classifier: Classifier, vectors: NDArray[np.float32], images: Sequence[DecodedImage], top: int
) -> list[ImageClass]:
    """What each image is. vectors: (N, D) float32, of the images. top: classes told of each."""
    model = classifier.model
    probabilities = model.probabilities(vectors)
    novelty = model.novelty(vectors)
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
                image=image_answer(image),
            )
        )
    return answers
