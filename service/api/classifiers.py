"""/v1/classifiers: fit a classifier to labelled images; get, extend, export, import and delete it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from backbones.backbone import Backbone, Description
from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.feature_pooling.blocks import resolve_blocks
from heads.feature_pooling.features import TASK as FEATURES
from heads.feature_pooling.features import check_feature_rows
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
    folder_of,
)
from service.api.formats import file_response, json_response
from service.api.operations import add_operations
from service.api.schemas import TimingAnswer
from service.dependencies import RequestUsage, ServerJobs, State, body_as
from service.errors import UnsupportedBody
from service.http.disconnects import while_connected
from service.http.openapi import key_problems, not_ready, task_problems
from service.inputs.files import ImageSource, InputFiles, fetch_files, name_images
from service.inputs.request_body import read_body
from service.jobs.serving import Jobs
from service.library.classifier_fitting import (
    READ_BY_THE_JOB,
    FittedClassifier,
    JobVectors,
    check_classes,
    examples_of_job,
    fit_again,
    fit_new,
)
from service.library.classifier_import import check_import
from service.library.classifiers import FeatureOptions, LabelledVectors, as_tensors, check_usable, from_file, read_about
from service.library.store import MEDIA_TYPE, pack, unpack
from service.library.vectors import vectors_of_files
from service.run_task import Terms, run_procedure
from service.settings.groups import LimitSettings
from service.state import AppState
from service.telemetry.usage import Usage
from service.threads import BODIES, COMPARING, DATABASE, LIBRARY, run_in

router = APIRouter(tags=["classification"])

LABEL = "classifier"
"""Metric label of the rows that fits take."""


def raise_image_limit(limits: LimitSettings) -> LimitSettings:
    """The limits of a request with images to fit on: as many as one classifier takes."""
    return limits.model_copy(update={"max_images": limits.max_training_images})


def _describe_bodies(model: type[BaseModel], curl: str, *, raw: bool) -> dict[str, Any]:
    """`request_bodies`; a single image cannot be the body, because the route needs several."""
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
    openapi_extra=_describe_bodies(ClassifierRequest, "-F image=@pets.zip -F name=pets", raw=False),
)
async def fit_classifier(
    request: Request,
    state: State,
    jobs: ServerJobs,
    usage: RequestUsage,
    body: Annotated[ClassifierRequest, Depends(body_as(ClassifierRequest, raise_image_limit))],
) -> FittedAnswer:
    """Fits logistic regression on pooled features. Cross-validation chooses its strength, temperature and novelty
    threshold.

    The option `head` chooses another kind of classifier.
    """
    limits = state.settings.limits
    images, labels = body.pair_labels(limits)
    if body.head == "logistic" and body.head_options is not None:
        raise InvalidInput(
            "head_options",
            "the head `logistic` has no options",
            hint="send another `head`, or leave `head_options` out",
        )
    model = body.model or (None if body.job is None else await _model_of_job(state, jobs, body.job))
    async with state.models.use(FEATURES, model, seconds=limits.deadline_seconds) as loaded:
        of_job, options = await _feature_options(body, loaded.backbone, jobs, limits)
        of_all = [*(of_job.labels if of_job else ()), *labels]
        check_classes(of_all, limits)
        fit = partial(
            fit_new,
            store=state.library.classifiers,
            options=options,
            name=body.name,
            head=body.head,
            head_sizes=(body.head_options or HeadRequest()).model_dump(),
            labels=of_all,
            limits=limits,
            of_job=of_job,
            read_sent=partial(_read_examples, state, images, labels) if images or of_job is None else None,
        )
        return await _answer(request, state, loaded.model, usage, body, fit)


@router.patch(
    "/v1/classifiers/{classifier}",
    summary="Add images or classes to a classifier, or remove classes",
    response_model=FittedAnswer,
    responses=task_problems(),
    openapi_extra=_describe_bodies(GrowRequest, "-F image=@cat.jpg -F labels=cat", raw=True),
)
async def grow_classifier(
    request: Request,
    state: State,
    usage: RequestUsage,
    classifier: str,
    body: Annotated[GrowRequest, Depends(body_as(GrowRequest, raise_image_limit))],
) -> FittedAnswer:
    """Computes vectors of the new images only, then fits the classifier again on all images. The id stays the same."""
    limits = state.settings.limits
    images, labels = body.pair_labels(limits)
    if not images and not body.remove_classes and body.name is None:
        raise InvalidInput("images", "nothing to change", hint="send images with labels, remove_classes, or a name")

    grow = partial(
        fit_again,
        store=state.library.classifiers,
        classifier=classifier,
        limits=limits,
        read_sent=partial(_read_examples, state, images, labels),
        remove_classes=body.remove_classes or (),
        name=body.name,
    )
    stored = await run_in(LIBRARY, state.library.classifiers.look, classifier)
    model = body.model or state.models.revisions().get(read_about(stored.about).revision)
    async with state.models.use(FEATURES, model, seconds=limits.deadline_seconds) as loaded:
        return await _answer(request, state, loaded.model, usage, body, grow)


@router.get(
    "/v1/classifiers",
    summary="List classifiers",
    response_model=ClassifiersAnswer,
    responses={**key_problems(), **not_ready()},
)
async def list_classifiers(state: State) -> Response:
    """Metadata and figures of each classifier, without its weights."""
    revisions = state.models.revisions()
    kept = await run_in(LIBRARY, state.library.classifiers.list)

    def build() -> ClassifiersAnswer:
        answers = []
        for stored in kept:
            with suppress(InvalidInput):  # written by a newer version
                answers.append(classifier_answer(stored, revisions))
        return ClassifiersAnswer(classifiers=answers)

    return await json_response(build)


@router.get(
    "/v1/classifiers/{classifier}",
    summary="Get one classifier with its figures",
    response_model=ClassifierAnswer,
    responses={**key_problems(), **not_ready()},
)
async def get_classifier(state: State, classifier: str) -> Response:
    """The same answer as when it was fitted."""
    revisions = state.models.revisions()
    kept = await run_in(LIBRARY, state.library.classifiers.look, classifier)
    return await json_response(lambda: classifier_answer(kept, revisions))


@router.delete("/v1/classifiers/{classifier}", status_code=204, summary="Delete a classifier", responses=key_problems())
async def delete_classifier(state: State, classifier: str) -> None:
    """Requests that already run with the classifier are still answered."""
    await run_in(LIBRARY, state.library.classifiers.delete, classifier)


@router.get(
    "/v1/classifiers/{classifier}/export",
    summary="Export a classifier as a safetensors file",
    response_class=Response,
    responses={**file_response(MEDIA_TYPE), **key_problems()},
)
async def export_classifier(state: State, classifier: str, vectors: bool = True) -> Response:
    """The classifier's weights as tensors, and all else as JSON in the file's header.

    `vectors=false` leaves out the vectors that it was fitted on. The file then holds nothing of single images, and an
    imported copy cannot grow.
    """

    def read_file() -> bytes:
        data, _ = state.library.classifiers.file(classifier)
        if vectors:
            return data
        about, tensors = unpack(data)
        return pack(about, as_tensors(from_file(about, tensors), examples=False))

    named = {"Content-Disposition": f'attachment; filename="classifier-{classifier}.safetensors"'}
    return Response(await run_in(LIBRARY, read_file), media_type=MEDIA_TYPE, headers=named)


@router.post(
    "/v1/classifiers/import",
    status_code=201,
    summary="Import a classifier",
    response_model=ClassifierAnswer,
    responses=task_problems(),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A file from GET /v1/classifiers/{classifier}/export.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "contentMediaType": MEDIA_TYPE}}},
        },
        "x-schemas": {},
    },
)
async def import_classifier(request: Request, state: State, usage: RequestUsage) -> ClassifierAnswer:
    """The classifier gets a new id. The server must have the backbone that it was fitted on."""
    default, revisions = state.models.backbone, state.models.revisions()
    media_type = request.headers.get("content-type", MEDIA_TYPE).split(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise UnsupportedBody(
            f"the Content-Type {media_type[:100]!r} is not read",
            hint=f"curl --data-binary @classifier.safetensors -H 'Content-Type: {MEDIA_TYPE}' URL",
        )
    body = await read_body(request)
    classifier = await run_in(BODIES, lambda: from_file(*unpack(bytes(body))))
    if classifier.about.revision not in revisions:
        check_usable(classifier.about, default)

    async def check(engine: Engine) -> None:
        await check_import(engine, classifier, state.settings.limits)

    model = state.models.revisions().get(classifier.about.revision)
    async with state.models.use(FEATURES, model, seconds=state.settings.limits.deadline_seconds) as loaded:
        checking = run_procedure(
            state, loaded.model, LABEL, InputFiles(), lambda engine, _: check(engine), Terms(usage)
        )
        await while_connected(request, checking)
    # Written again from checked values, so that nothing else of the file is stored.
    about = classifier.about.model_dump(mode="json")
    stored = await run_in(LIBRARY, lambda: state.library.classifiers.add(about, as_tensors(classifier)))
    return classifier_answer(stored, revisions)


async def _model_of_job(state: AppState, jobs: Jobs, job_id: str) -> str | None:
    """The backbone whose vectors a job holds; None if this server has none of its weights."""
    job = await run_in(DATABASE, (await jobs.store()).get, job_id)
    return state.models.revisions().get(job.revision) if job.revision else None


async def _feature_options(
    body: ClassifierRequest, backbone: Description, jobs: Jobs, limits: LimitSettings
) -> tuple[LabelledVectors | None, FeatureOptions]:
    """The options of features; with a job, also its examples and options."""
    if body.job is None:
        blocks = resolve_blocks(body.blocks, backbone.sub_blocks)
        return None, FeatureOptions(**body.model_dump(include={*READ_BY_THE_JOB}) | {"blocks": blocks})
    if sent := [name for name in READ_BY_THE_JOB if name in body.model_fields_set]:
        raise InvalidInput(sent[0], "images are read with the job's options", hint="leave this option out")
    store, most, job_id = await jobs.store(), limits.max_training_images, body.job

    def read() -> tuple[LabelledVectors, FeatureOptions]:
        job = store.get(job_id)
        if job.done > most:
            message = f"{job.done:,} images; one classifier takes {most:,}"
            raise InvalidInput("job", message, hint="raise the server's limits.max_training_images")
        usable = job.task == "features" and job.status == "done"
        records = [(record.name, record.key, record.result or {}) for record in store.records(job.id)] if usable else []
        vectors = JobVectors(job.task, job.status, job.revision, job.parameters, records)
        return examples_of_job(vectors, backbone, folder_of)

    return await run_in(COMPARING, read)


async def _read_examples(
    state: AppState, images: Sequence[ImageSource], labels: Sequence[str], engine: Engine, options: FeatureOptions
) -> LabelledVectors:
    """Vectors of the request's images. Raises InvalidInput for an image, and for too many rows."""
    limits = state.settings.limits
    if not images:
        return LabelledVectors(np.zeros((0, 0), np.float32), (), np.zeros((0, 16), np.uint8))
    check_feature_rows(len(images), len(options.timesteps), options.noise_samples, limits)
    names = name_images(images)
    contents = await fetch_files(state.fetcher, images, names, most_bytes=limits.max_upload_bytes)
    vectors = await vectors_of_files(engine, state.library.vectors, contents, names, options, state.decoder)
    return LabelledVectors(vectors.vectors, tuple(labels), vectors.keys)


async def _answer(
    request: Request,
    state: AppState,
    backbone: Backbone,
    usage: Usage,
    body: ExamplesRequest,
    procedure: Callable[[Engine], Awaitable[FittedClassifier]],
) -> FittedAnswer:
    """The answer about the classifier that `procedure` fits and stores."""
    fit = run_procedure(state, backbone, LABEL, InputFiles(), lambda engine, _: procedure(engine), body.terms(usage))
    done = await while_connected(request, fit)
    answer = classifier_answer(done.stored, state.models.revisions())
    timing = TimingAnswer(seconds=usage.round_seconds())
    return FittedAnswer(**dict(answer), duplicates=done.duplicates, rows=usage.rows, timing=timing)


add_operations(router)
