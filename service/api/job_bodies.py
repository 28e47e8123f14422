"""The body that begins a job, and the answer about one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.requests import Request

from backbones.errors import InvalidInput, ModelNotFound
from service.api.bodies import query_parameter
from service.errors import BodyTooLarge, MalformedBody, NotReady, UnsupportedBody
from service.http.openapi import REFERENCE
from service.inputs.archives import MEDIA_TYPES
from service.inputs.long_forms import read_long_form
from service.inputs.names import choose_upload_name
from service.inputs.request_body import ANY_BYTES, FILE_PARTS, fields_of, media_type_of, validate
from service.jobs.formats.export import able_formats, exports_of
from service.jobs.places import check_place
from service.jobs.records import Job, Record
from service.jobs.runner import measure_speed
from service.jobs.sources import StoredSource, guess
from service.jobs.uploads import keep_files, keep_urls, keep_zip, receiving
from service.models.store import ModelStore
from service.settings.loader import Settings
from service.tasks import AnyTask, find_task
from service.threads import BODIES, SOURCES, UPLOADS, enter_in, run_in

_WHERE = "send one of: a zip, a video or images as file parts; `urls`; or `source`, a path that the server reads"
_PARTS = ("archive", *FILE_PARTS)

Url = Annotated[str, StringConstraints(pattern=r"^[Hh][Tt][Tt][Pp][Ss]://[^\s\x00]+$", max_length=4096)]


class JobRequest(BaseModel):
    """A task, and the images to run it on."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={
            "examples": [
                {"task": "features", "parameters": {"timesteps": [100]}, "urls": ["https://example.org/a.jpg"]}
            ]
        },
    )

    task: str = Field(
        min_length=1, max_length=64, description="Name of the task to run on each image, from GET /v1/models."
    )
    parameters: dict[str, Any] = Field(
        default={},
        description="Options of the task, with the same names as in the task's route. Missing options get "
        "their defaults.",
    )
    urls: list[Url] | None = Field(
        default=None,
        min_length=1,
        description="https:// URLs of images. The server's setting `urls.enabled` must be on.",
    )
    source: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="A path or fsspec URL that the server reads. It must be below a place in the server's "
        "setting `jobs.sources`. It can name a folder, a pattern with *, a .zip, a COCO .json, a .txt of URLs "
        "or a video.",
    )
    images: str = Field(
        default="", max_length=4096, description="If `source` is a COCO file: the folder of its images."
    )
    stride: int = Field(default=1, ge=1, le=1_000_000, description="For a video: process every `stride`-th frame.")


class JobSource(BaseModel):
    """Where a job's images come from."""

    kind: Literal["folder", "glob", "zip", "coco", "urls", "video"]
    uploaded: bool = Field(description="Whether the images were uploaded with the request.")
    address: str = Field(description="Path or URL of the source; empty for an upload.")
    images: str
    stride: int


class FailedImage(BaseModel):
    """An image without a result, and why."""

    image_name: str
    error: str


class JobAnswer(BaseModel):
    """The current state of a job."""

    id: str
    task: str
    status: Literal["queued", "running", "paused", "done", "failed"] = Field(
        description="`done` means that all images were processed, some perhaps without success. `failed` "
        "means that the job as a whole cannot run; see `error`."
    )
    error: str = Field(description="Why the job failed as a whole; empty otherwise.")
    total: int | None = Field(description="Number of images; null until the source is listed.")
    done: int
    failed: int = Field(
        description="Number of images without a result. GET /v1/jobs/{job}/results?status=failed lists them "
        "with the reasons."
    )
    reused: int = Field(description="How many of the `done` images already had a result from an earlier job.")
    images_per_second: float = Field(description="Images finished per second, in the current or the last run.")
    seconds_left: float | None = Field(description="Estimated seconds until the end; null if there is no estimate.")
    parameters: dict[str, Any] = Field(description="All options of the task, with defaults filled in.")
    source: JobSource
    model: str = Field(
        description="Id of the model that the job uses from its first run to its end. Empty before the "
        "first run, and for jobs of older versions."
    )
    revision: str = Field(
        description="Digest of the job's weights, concepts and classifiers; empty before the first run. If "
        "one of them changes, the job cannot continue: it becomes `failed`, and `error` says why."
    )
    local: bool = Field(description="Whether the command `diffsight annotate` runs the job, not a server.")
    formats: list[str] = Field(description="Formats in which the results can be exported.")
    created: str = Field(description="Time of creation, ISO 8601 in UTC.")
    updated: str


class JobDetails(JobAnswer):
    """The current state of a job, with its first failures."""

    failures: list[FailedImage] = Field(description="The first five images that failed.")
    model_replaced: bool | None = Field(
        default=None,
        description="Whether the job's model has other weights on this server by now, or is no longer served; null "
        "while the model is not loaded, before the first run, and for tasks of concepts and classifiers.",
    )


class JobsAnswer(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobAnswer]
    before: float | None = Field(
        description="Send this value as `before` to get older jobs; null if there are no older jobs."
    )


def job_fields(job: Job, tasks: tuple[AnyTask, ...]) -> dict[str, Any]:
    """The answer about a job, without its failures."""
    source = StoredSource.model_validate(job.source)
    now = measure_speed(job, time.time())
    as_stored = ("id", "task", "status", "error", "done", "failed", "reused", "model", "revision", "local")
    return {
        **{name: getattr(job, name) for name in as_stored},
        "total": job.total if job.listed else None,
        "images_per_second": round(now.images_per_second, 3),
        "seconds_left": None if now.seconds_left is None else round(now.seconds_left, 1),
        "parameters": dict(job.parameters),
        "source": JobSource(**source.model_dump() | {"address": "" if source.uploaded else source.address}),
        "formats": able_formats(exports_of(tasks, job.task)),
        "created": datetime.fromtimestamp(job.created, UTC).isoformat(),
        "updated": datetime.fromtimestamp(job.updated, UTC).isoformat(),
    }


def job_details(job: Job, failures: Sequence[Record], tasks: tuple[AnyTask, ...], models: ModelStore) -> JobDetails:
    """The answer about one job. models: of this server."""
    failed = [FailedImage(image_name=record.name, error=record.error) for record in failures]
    return JobDetails(**job_fields(job, tasks), failures=failed, model_replaced=is_model_replaced(job, tasks, models))


def is_model_replaced(job: Job, tasks: tuple[AnyTask, ...], models: ModelStore) -> bool | None:
    """Whether the results of a job come from other weights than its model has now; None if that is unknown."""
    task = find_task(tasks, job.task)
    if not (job.model and job.revision) or task is None or task.prepare is not None:
        return None
    try:
        return str(models.get_open(task, job.model).head.revision) != job.revision
    except ModelNotFound:
        return True
    except NotReady:
        return None


async def read_job(request: Request, settings: Settings, job_id: str) -> tuple[JobRequest, StoredSource]:
    """The request and its source. An upload is stored under the job's id; only lists are held in memory.

    Raises UnsupportedBody, MalformedBody, InvalidInput, RequestValidationError.
    """
    kind = media_type_of(request)
    if kind == "application/json":
        body = await _small_body(request, settings.limits.max_upload_bytes)
        job_request = await run_in(BODIES, validate, JobRequest, body, settings.limits)
        return job_request, await run_in(SOURCES, _source, job_request, settings, job_id, [])
    if kind in (*MEDIA_TYPES, ANY_BYTES):
        job_request = validate(JobRequest, fields_of(JobRequest, request.query_params.multi_items()))
        if job_request.urls or job_request.source:
            raise InvalidInput("source", "the body is a zip already", hint=_WHERE)
        async with enter_in(UPLOADS, receiving(settings, job_id)) as file:
            async for chunk in request.stream():
                await run_in(UPLOADS, file.write, chunk)
            return job_request, await run_in(UPLOADS, keep_zip, settings, job_id, file)
    if kind == "multipart/form-data":
        return await _read_form(request, settings, job_id)
    raise UnsupportedBody(
        f"the Content-Type {kind!r} is not read" if kind else "the request has no Content-Type",
        hint="send a form (curl -F task=features -F file=@photos.zip URL), JSON, or a zip as the body with its options "
        "in the query",
    )


async def _small_body(request: Request, most: int) -> bytes:
    """A body that is held in memory. Raises BodyTooLarge for more than `most` bytes, whatever the bound on uploads."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(f"the JSON has more than {most:,} bytes", hint="create several jobs")
    return bytes(body)


async def _read_form(request: Request, settings: Settings, job_id: str) -> tuple[JobRequest, StoredSource]:
    limits = settings.limits
    try:
        async with read_long_form(request, max_files=limits.max_images, max_fields=1000) as form:
            texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
            files = [(name, value) for name, value in form.multi_items() if not isinstance(value, str)]
            if wrong := [name for name, _ in files if name not in _PARTS]:
                raise InvalidInput(wrong[0], f"the part {wrong[0]!r} is a file", hint="name file parts 'file'")
            fields = [*request.query_params.multi_items(), *texts]
            job_request = await run_in(BODIES, lambda: validate(JobRequest, fields_of(JobRequest, fields, limits)))
            named = [
                (choose_upload_name(part.filename or "", part.headers.get("content-disposition", "")), part.file)
                for _, part in files
            ]
            return job_request, await run_in(
                UPLOADS if named else SOURCES, _source, job_request, settings, job_id, named
            )
    except HTTPException as error:
        if str(error.detail).startswith("Too many files"):
            message = f"too many files; one form takes {limits.max_images}"
            raise InvalidInput("file", message, hint="send them as one zip") from error
        raise MalformedBody(
            f"the form can not be read: {error.detail}",
            hint="let the HTTP client write the form: curl -F task=features -F file=@photos.zip ...",
        ) from error


def _source(body: JobRequest, settings: Settings, job_id: str, files: Sequence[tuple[str, BinaryIO]]) -> StoredSource:
    """The source that a request names or uploads. Raises InvalidInput."""
    if sum(map(bool, (body.urls, body.source, files))) != 1:
        raise InvalidInput("source", "the request has no images, or images from several sources", hint=_WHERE)
    if body.source:
        for field, address in (("source", body.source), ("images", body.images)):
            if address:
                check_place(address, settings.jobs.sources, field=field)
        source = guess(body.source, images=body.images, stride=body.stride)
        if source.kind == "urls":
            _check_urls(settings)
        return StoredSource(**source.model_dump())
    with receiving(settings, job_id) as file:
        if body.urls:
            _check_urls(settings)
            return keep_urls(settings, job_id, file, body.urls)
        return keep_files(settings, job_id, file, files, stride=body.stride)


def _check_urls(settings: Settings) -> None:
    if not settings.urls.enabled:
        raise InvalidInput(
            "urls", "this server downloads no images (its setting urls.enabled is off)", hint="send a zip"
        )


def job_request_bodies() -> dict[str, Any]:
    """`openapi_extra` of the route that begins jobs."""
    schema = JobRequest.model_json_schema(ref_template=REFERENCE)
    file = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    texts = {
        "task": schema["properties"]["task"],
        "parameters": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "A JSON object: the options of the task.",
        },
        "stride": schema["properties"]["stride"],
    }
    parts = {"type": "array", "items": file, "minItems": 1, "description": "One zip, one video, or several images."}
    form = {
        "type": "object",
        "properties": {"file": parts, **texts},
        "required": ["file", "task"],
        "additionalProperties": False,
    }
    return {
        "requestBody": {
            "required": True,
            "description": "One of three: a form (`curl -F task=features -F file=@photos.zip ...`); JSON with "
            "`urls` or `source`; or a zip as the body, with `task` and `parameters` in the query.",
            "content": {
                "multipart/form-data": {"schema": {"$ref": REFERENCE.format(model="JobForm")}},
                "application/json": {
                    "schema": {"$ref": REFERENCE.format(model=JobRequest.__name__)},
                    "example": schema["examples"][0],
                },
                MEDIA_TYPES[0]: {"schema": {"type": "string", "format": "binary", "contentMediaType": MEDIA_TYPES[0]}},
            },
        },
        "parameters": [query_parameter(name, option) for name, option in texts.items()],
        "x-schemas": {JobRequest.__name__: schema, "JobForm": form},
    }
