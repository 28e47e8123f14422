"""/v1/classifiers: fit a classifier to labelled images, look at it, let it grow, take it elsewhere, forget it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from backbones.errors import InvalidInput
from service.api.answers import timing_answer
from service.api.bodies import request_bodies
from service.api.classifier_bodies import (
    ClassifierAnswer,
    ClassifierRequest,
    ClassifiersAnswer,
    ExamplesRequest,
    FittedAnswer,
    GrowRequest,
    HeadRequest,
    classifier_answer,
)
from service.api.classifier_jobs import READ_BY_THE_JOB, examples_of_job
from service.errors import ChangedMeanwhile, UnsupportedBody
from service.http.openapi import keyed, not_ready, task_problems
from service.inputs.request_body import ImageSource, read_request
from service.library.store import MEDIA_TYPE, Store, Stored, packed, unpacked
from service.models.loading import Service, service_of
from service.requests import ask, fetched, image_names
from service.settings.groups import LimitSettings

if TYPE_CHECKING:
    from service.engine.session import Session
    from service.library.classifiers import Classifier, Examples, FeatureOptions

router = APIRouter(tags=["classification"])

_MOST_TRIES = 5


def _fitting_bodies(model: type[BaseModel], curl: str, *, raw: bool) -> dict[str, Any]:
    """`request_bodies`; a lone image is no body of a route that needs several."""
    bodies = request_bodies(model, curl=curl)
    if not raw:
        del bodies["requestBody"]["content"]["image/*"]
    return bodies


@router.post(
    "/v1/classifiers",
    status_code=201,
    summary="Fit a classifier to your own labelled images",
    response_model=FittedAnswer,
    responses=task_problems(),
    openapi_extra=_fitting_bodies(ClassifierRequest, "-F image=@pets.zip -F name=pets", raw=False),
)
async def fit_classifier(request: Request) -> FittedAnswer:
    """Logistic regression on pooled features, its strength, temperature and threshold by cross-validation.

    Or one of the released heads, trained as they were.
    """
    service = service_of(request)
    backbone = service.engine.model.description
    asked = await read_request(request, ClassifierRequest, _limits(service))
    images, labels = asked.labelled(service.settings.limits)

    from heads.feature_pooling.blocks import resolve_blocks
    from service.library.classifiers import FeatureOptions, as_tensors, fitted, joined, released_head

    of_job: Examples | None = None
    if asked.job is None:
        options = FeatureOptions(
            blocks=resolve_blocks(asked.blocks, backbone.sub_blocks),
            timesteps=tuple(asked.timesteps),
            pool_size=asked.pool_size,
            noise_samples=asked.noise_samples,
            fit=asked.fit,
        )
    else:
        if given := [name for name in READ_BY_THE_JOB if name in asked.model_fields_set]:
            raise InvalidInput(given[0], "images are read as the job read them", hint="leave it out")
        # Jobs know this module: it is what one of their tasks asks.
        from service.jobs.serving import jobs_of

        store, most = await jobs_of(request).store(), service.settings.limits.max_training_images
        of_job, options = await asyncio.to_thread(examples_of_job, store, asked.job, backbone, most)
    check_classes([*(of_job.labels if of_job else ()), *labels], service.settings.limits)
    if asked.head == "logistic" and asked.head_options is not None:
        raise InvalidInput("head_options", "they go with a released head", hint="send head too, or leave them out")

    async def fit(engine: Session, _: Sequence[object]) -> tuple[Stored, Classifier, int, int]:
        head = await released_head(engine, asked.head, (asked.head_options or HeadRequest()).model_dump(), options)
        examples, duplicates = (None, 0) if of_job is None else joined(None, of_job)
        if images or examples is None:
            sent = await _examples(request, engine, images, labels, options)
            examples, again = joined(examples, sent)
            duplicates += again
        with _Stopped() as stopped:
            classifier = await asyncio.to_thread(
                fitted, examples, options, engine.backbone, name=asked.name, head=head, stopped=stopped
            )
        about = classifier.about.model_dump(mode="json")
        stored = await asyncio.to_thread(store_of(service).add, about, as_tensors(classifier))
        return stored, classifier, duplicates, engine.rows

    return await _fitted_answer(request, asked, fit)


@router.patch(
    "/v1/classifiers/{classifier}",
    summary="Add images or classes to a classifier, or leave classes out",
    response_model=FittedAnswer,
    responses=task_problems(),
    openapi_extra=_fitting_bodies(GrowRequest, "-F image=@cat.jpg -F labels=cat", raw=True),
)
async def grow_classifier(request: Request, classifier: str) -> FittedAnswer:
    """Only new images are looked at; the classifier is then fitted again to all of them, under the same id."""
    service = service_of(request)
    _ = service.engine
    asked = await read_request(request, GrowRequest, _limits(service))
    images, labels = asked.labelled(service.settings.limits)
    if not images and not asked.remove_classes and asked.name is None:
        raise InvalidInput("images", "nothing to change", hint="send images with labels, remove_classes, or a name")

    from service.library.classifiers import as_tensors, check_usable, fitted, joined

    async def grow(engine: Session, _: Sequence[object]) -> tuple[Stored, Classifier, int, int]:
        for tries_left in reversed(range(_MOST_TRIES)):
            stored, old = await read_classifier(service, classifier)
            check_usable(old.about, engine.backbone)
            if old.examples is None:
                raise InvalidInput(
                    "classifier", "it came without the vectors it was fitted on", hint="fit a new one with all images"
                )
            # The second time round, after somebody else's change, the vectors lie in the cache.
            new = await _examples(request, engine, images, labels, old.about.features)
            examples, duplicates = joined(old.examples, new, without=asked.remove_classes or ())
            check_classes(examples.labels, service.settings.limits)
            with _Stopped() as stopped:
                grown = await asyncio.to_thread(
                    fitted,
                    examples,
                    old.about.features,
                    engine.backbone,
                    name=old.about.name if asked.name is None else asked.name,
                    head=old.about.head,
                    created=old.about.created,
                    stopped=stopped,
                )
            about = grown.about.model_dump(mode="json")
            try:
                written = await asyncio.to_thread(store_of(service).replace, stored, about, as_tensors(grown))
            except ChangedMeanwhile:
                if not tries_left:
                    raise
            else:
                return written, grown, duplicates, engine.rows
        raise AssertionError

    return await _fitted_answer(request, asked, grow)


@router.get("/v1/classifiers", summary="All classifiers", responses={**keyed(), **not_ready()})
async def list_classifiers(request: Request) -> ClassifiersAnswer:
    """Without their numbers."""
    service = service_of(request)
    revision = service.engine.model.description.revision
    answers = []
    for stored in await asyncio.to_thread(store_of(service).list):
        with suppress(InvalidInput):  # what a newer server left in the folder
            answers.append(classifier_answer(stored, revision))
    return ClassifiersAnswer(classifiers=answers)


@router.get(
    "/v1/classifiers/{classifier}", summary="One classifier and its figures", responses={**keyed(), **not_ready()}
)
async def get_classifier(request: Request, classifier: str) -> ClassifierAnswer:
    """As it was answered when it was fitted."""
    service = service_of(request)
    revision = service.engine.model.description.revision
    return classifier_answer(await asyncio.to_thread(store_of(service).look, classifier), revision)


@router.delete("/v1/classifiers/{classifier}", status_code=204, summary="Forget a classifier", responses=keyed())
async def delete_classifier(request: Request, classifier: str) -> None:
    """Requests that have begun to use it are still answered."""
    await asyncio.to_thread(store_of(service_of(request)).delete, classifier)


@router.get(
    "/v1/classifiers/{classifier}/export",
    summary="A classifier as one safetensors file",
    response_class=Response,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}}},
        **keyed(),
    },
)
async def export_classifier(request: Request, classifier: str, vectors: bool = True) -> Response:
    """Its numbers as tensors, the rest as JSON in the file's header; `vectors=false` leaves out those it was fitted on.

    Without them it can not grow, and nothing of single images is in the file.
    """
    from service.library.classifiers import as_tensors, from_file

    def file() -> bytes:
        data, _ = store_of(service_of(request)).file(classifier)
        if vectors:
            return data
        about, tensors = unpacked(data)
        return packed(about, as_tensors(from_file(about, tensors), examples=False))

    named = {"Content-Disposition": f'attachment; filename="classifier-{classifier}.safetensors"'}
    return Response(await asyncio.to_thread(file), media_type=MEDIA_TYPE, headers=named)


@router.post(
    "/v1/classifiers/import",
    status_code=201,
    summary="Take in a classifier that was exported",
    response_model=ClassifierAnswer,
    responses=task_problems(),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file as it was exported.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}},
        },
        "x-schemas": {},
    },
)
async def import_classifier(request: Request) -> ClassifierAnswer:
    """It gets an id of its own. Only a server with the same backbone takes it."""
    service = service_of(request)
    backbone = service.engine.model.description
    media_type = request.headers.get("content-type", MEDIA_TYPE).split(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise UnsupportedBody(
            f"the Content-Type {media_type[:100]!r} is not read",
            hint=f"curl --data-binary @classifier.safetensors -H 'Content-Type: {MEDIA_TYPE}' URL",
        )
    data = await request.body()

    from service.library.classifiers import as_tensors, check_usable, from_file

    def keep() -> Stored:
        about, tensors = unpacked(data)
        classifier = from_file(about, tensors)
        check_usable(classifier.about, backbone)
        # Written again from what was checked, so that nothing else of the file stays.
        return store_of(service).add(classifier.about.model_dump(mode="json"), as_tensors(classifier))

    return classifier_answer(await asyncio.to_thread(keep), backbone.revision)


def check_classes(labels: Sequence[str], limits: LimitSettings) -> None:
    """Raises InvalidInput, before any work, for labels that no classifier can be fitted to."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        told = f"only the class {classes[0]!r}" if classes else "no images"
        raise InvalidInput("labels", told, hint="a classifier tells classes apart: send images of two at least")
    if len(classes) > limits.max_labels:
        raise InvalidInput(
            "labels", f"{len(classes)} classes; one classifier takes {limits.max_labels}", hint="send fewer classes"
        )
    if len(labels) > limits.max_training_images:
        raise InvalidInput(
            "images",
            f"{len(labels):,} images with those already there; one classifier takes {limits.max_training_images:,}",
            hint="leave classes out with remove_classes, or begin a new classifier",
        )


class _Stopped:
    """An event that is set when the block is left, so that a fit on a thread ends when nobody waits for it."""

    def __enter__(self) -> threading.Event:
        self.event = threading.Event()
        return self.event

    def __exit__(self, *_: object) -> None:
        self.event.set()


def _limits(service: Service) -> LimitSettings:
    """The limits of a request that brings images to fit on: as many as one classifier takes."""
    limits = service.settings.limits
    return limits.model_copy(update={"max_images": limits.max_training_images})


def store_of(service: Service) -> Store:
    """Where this server keeps classifiers."""
    settings = service.settings
    return Store(settings.data_path(), "classifier", most_bytes=settings.data_bytes)


async def read_classifier(service: Service, classifier: str) -> tuple[Stored, Classifier]:
    """The classifier with this id, every number of it checked. Raises NothingStored."""
    from service.library.classifiers import from_file

    def read() -> tuple[Stored, Classifier]:
        stored, tensors = store_of(service).read(classifier)
        return stored, from_file(stored.about, tensors)

    return await asyncio.to_thread(read)


async def _examples(
    request: Request,
    engine: Session,
    images: Sequence[ImageSource],
    labels: Sequence[str],
    options: FeatureOptions,
) -> Examples:
    """Vectors of the request's images. Raises InvalidInput for an image, and for too many rows."""
    import numpy as np

    from service.library.classifiers import Examples
    from service.library.vectors import vectors_of_files

    service = service_of(request)
    limits = service.settings.limits
    if not images:
        return Examples(np.zeros((0, 0), np.float32), (), np.zeros((0, 16), np.uint8))
    rows = len(images) * len(options.timesteps) * max(1, options.noise_samples)
    if rows > limits.max_rows_per_request:
        raise InvalidInput(
            "timesteps",
            f"images, timesteps and noise_samples make {rows:,} U-Net rows; one request takes "
            f"{limits.max_rows_per_request:,}",
            hint="send fewer of them",
        )
    names = image_names(images)
    files = await fetched(request, images, names)
    vectors, keys = await vectors_of_files(engine, service.vectors, files, names, options, limits)
    return Examples(vectors, tuple(labels), keys)


async def _fitted_answer(request: Request, asked: ExamplesRequest, procedure: Any) -> FittedAnswer:
    stored, _, duplicates, rows = await ask(
        request,
        "classifiers",
        [],
        procedure,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    answer = classifier_answer(stored, service_of(request).engine.model.description.revision)
    return FittedAnswer(**dict(answer), duplicates=duplicates, rows=rows, timing=timing_answer(request))
