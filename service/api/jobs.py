"""/v1/jobs: run a task on many images, follow the progress, stop it, and export the results."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from heads.task import JSON
from service.api.formats import file_response, json_response, wants_bytes
from service.api.job_bodies import (
    JobAnswer,
    JobDetails,
    JobsAnswer,
    job_details,
    job_fields,
    job_request_bodies,
    read_job,
)
from service.api.operations import add_operations
from service.api.streams import Report, event_stream, events_response
from service.dependencies import ServerJobs, State
from service.errors import ChangedMeanwhile
from service.http.openapi import key_problems, not_ready, task_problems
from service.inputs.request_body import ANY_BYTES
from service.jobs.formats.export import FORMATS, PREFIXED, check_format, exports_of, failures, media_type, text_pieces
from service.jobs.leftovers import receiving_lock
from service.jobs.parameters import complete_parameters
from service.jobs.records import UNFINISHED, Job
from service.jobs.serving import Jobs
from service.jobs.sources import StoredSource
from service.jobs.store import JobStore, new_id
from service.jobs.uploads import forget, uploads_folder
from service.state import AppState
from service.threads import DATABASE, UPLOADS, enter_in, run_in

router = APIRouter(tags=["jobs"])

_PROBLEMS = {**key_problems(), **not_ready()}
_PIECE_BYTES = 64 * 1024
_SECONDS_BETWEEN_LOOKS = 0.5
# So that proxies keep the connection while a job is paused.
_LOOKS_BETWEEN_EVENTS = 30
_MOST_PREFIX = 2000
Partial = Annotated[
    bool,
    Query(
        description="If the job has not ended: return the results up to its first unfinished image, instead of "
        "status 409."
    ),
]
ImagePrefix = Annotated[
    str,
    Query(
        max_length=_MOST_PREFIX,
        description="For `label-studio`: text to put before each image's name in `data.image`, such as "
        "`/data/local-files/?d=photos/`. Names are percent-encoded if the prefix begins with `/` or `http`.",
    ),
]
# Forms without addresses do not list it, and refuse it with the reason.
OtherImagePrefix = Annotated[str, Query(max_length=_MOST_PREFIX, include_in_schema=False)]
_SUFFIXES = {"application/x-ndjson": "jsonl", "application/json": "json", "application/xml": "xml"}


def _file_of(form: str) -> dict[int | str, dict[str, Any]]:
    """The document's entry on results in a form."""
    kind = media_type(form)
    if kind != JSON:
        return file_response(kind)
    anything = {"type": "object", "additionalProperties": True}
    schema = {"type": "array", "items": anything} if form == "label-studio" else anything
    return {200: {"content": {JSON: {"schema": schema}}}}


@router.post(
    "/v1/jobs",
    status_code=201,
    summary="Create a job: run a task on many images",
    response_model=JobDetails,
    responses=task_problems(),
    openapi_extra=job_request_bodies(),
)
async def begin_job(request: Request, response: Response, state: State, jobs: ServerJobs) -> JobDetails:
    """Creates a job. A job continues after a restart of the server, and does not repeat finished images. Its work
    has low priority: it runs beside interactive requests.
    """
    _ = state.models.worker
    store = await jobs.store()
    job_id = new_id()
    async with enter_in(UPLOADS, receiving_lock(uploads_folder(state.settings), job_id)):
        body, source = await read_job(request, state.settings, job_id)
        try:
            # Missing weights and concepts are errors of this request, not of the job.
            parameters = await complete_parameters(state, body.task, body.parameters)
            about = source.model_dump()
            job = await run_in(DATABASE, store.add, body.task, parameters, about, id=job_id)
        except BaseException:
            await run_in(UPLOADS, forget, state.settings, source)
            raise
    jobs.notify()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_details(job, (), state.tasks, state.models)


@router.get("/v1/jobs", summary="List jobs, newest first", response_model=JobsAnswer, responses=_PROBLEMS)
async def list_jobs(
    state: State,
    jobs: ServerJobs,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[
        float | None,
        Query(description="Only jobs created before this time: the value `before` of the previous answer."),
    ] = None,
) -> Response:
    """The list includes jobs of `diffsight annotate` in the same database."""
    store = await jobs.store()
    listed = await run_in(DATABASE, store.latest, limit=limit, before=before)
    last = listed[-1].created if len(listed) == limit else None
    return await json_response(
        lambda: JobsAnswer(jobs=[JobAnswer(**job_fields(job, state.tasks)) for job in listed], before=last)
    )


@router.get("/v1/jobs/{job}", summary="Get one job", response_model=JobDetails, responses=_PROBLEMS)
async def get_job(state: State, jobs: ServerJobs, job: str) -> Response:
    """The progress of the job, and the first images that failed."""
    details = await run_in(DATABASE, _details, await jobs.store(), job, state)
    return await json_response(lambda: details)


@router.get(
    "/v1/jobs/{job}/events",
    summary="Follow a job's progress as server-sent events",
    response_class=Response,
    responses={
        **events_response(
            "`progress` events, then one `answer` event at the job's end.", progress="JobAnswer", answer="JobDetails"
        ),
        **_PROBLEMS,
    },
)
async def job_events(request: Request, state: State, jobs: ServerJobs, job: str) -> Response:
    """Sends an event at each change, at most twice a second, until the job is done or failed."""
    store = await jobs.store()

    async def watch(report: Report) -> BaseModel:
        last: Job | None = None
        for look in itertools.count():
            now = await run_in(DATABASE, store.get, job)
            if now.status in ("done", "failed"):
                break
            if now != last or look % _LOOKS_BETWEEN_EVENTS == 0:
                report(JobAnswer(**job_fields(now, state.tasks)))
                last = now
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        return await run_in(DATABASE, _details, store, job, state)

    return await event_stream(request, watch)


@router.get(
    "/v1/jobs/{job}/results",
    summary="Export a job's results",
    response_class=Response,
    responses={**_file_of("jsonl"), **_PROBLEMS},
)
async def job_results(
    request: Request,
    state: State,
    jobs: ServerJobs,
    job: str,
    format: Annotated[str, Query(include_in_schema=False)] = "jsonl",
    status: Annotated[
        Literal["done", "failed"],
        Query(description="`done`: results. `failed`: names of the images that failed, with reasons, as `jsonl`."),
    ] = "done",
    partial: Partial = False,
    image_prefix: OtherImagePrefix = "",
) -> Response:
    """Streams one JSON object per line for each image, in the order of the source.

    Other formats have routes of their own below this one; `format=coco` here does the same. A job can be exported in
    every format that its task supports, any number of times.
    """
    return await _stream_results(request, state, jobs, job, format, status, partial=partial, image_prefix=image_prefix)


def _results_in(form: str) -> Callable[..., Awaitable[Response]]:
    """The endpoint of a job's results in one form."""

    async def results(
        request: Request,
        state: State,
        jobs: ServerJobs,
        job: str,
        partial: Partial = False,
        image_prefix: OtherImagePrefix = "",
    ) -> Response:
        return await _stream_results(
            request, state, jobs, job, form, "done", partial=partial, image_prefix=image_prefix
        )

    async def results_with_addresses(
        request: Request,
        state: State,
        jobs: ServerJobs,
        job: str,
        partial: Partial = False,
        image_prefix: ImagePrefix = "",
    ) -> Response:
        return await results(request, state, jobs, job, partial, image_prefix)

    return results_with_addresses if form in PREFIXED else results


def _add_results(form: str) -> None:
    """Serve a job's results in one form."""
    router.add_api_route(
        f"/v1/jobs/{{job}}/results/{form}",
        _results_in(form),
        methods=["GET"],
        name=f"job_results:{form}",
        summary=f"A job's results as {form}",
        description="Streams the results in the order of the source. Answers 422 if the job's task has no "
        "results in this format.",
        response_class=Response,
        responses={**_file_of(form), **_PROBLEMS},
    )


for _form in FORMATS:
    _add_results(_form)


async def _stream_results(
    request: Request,
    state: AppState,
    jobs: Jobs,
    job: str,
    format: str,
    status: str,
    *,
    partial: bool,
    image_prefix: str,
) -> Response:
    store = await jobs.store()
    record = await run_in(DATABASE, store.get, job)
    form = "jsonl" if status == "failed" else format
    check_format(form, record.task, exports_of(state.tasks, record.task), image_prefix=image_prefix)
    if record.status in (*UNFINISHED, "paused") and not partial:
        raise ChangedMeanwhile(
            f"the job is {record.status}: {record.finished:,} of {record.total:,} images are finished",
            hint="wait until it is done, or send partial=true",
        )
    before = await run_in(DATABASE, store.first_pending, record.id)
    if status == "failed":
        pieces = failures(store.records(record.id, status="failed", before=before))
    else:
        pieces = text_pieces(form, record, lambda: store.records(record.id, before=before), image_prefix=image_prefix)
    kind = media_type(form)
    name = f"{record.id}-{'failed' if status == 'failed' else form}.{_SUFFIXES.get(kind, 'zip')}"
    named = {"Content-Disposition": f'attachment; filename="{name}"'}
    as_bytes = kind != JSON and wants_bytes(request.headers.get("accept", ""), kind)
    return StreamingResponse(_join_pieces(pieces), media_type=ANY_BYTES if as_bytes else kind, headers=named)


@router.post("/v1/jobs/{job}/pause", summary="Pause a job", responses=_PROBLEMS)
async def pause_job(state: State, jobs: ServerJobs, job: str) -> JobDetails:
    """Finished images keep their results. Answers 409 if the job has ended."""
    return await _change(state, jobs, job, JobStore.pause)


@router.post("/v1/jobs/{job}/resume", summary="Resume a paused job", responses=_PROBLEMS)
async def resume_job(state: State, jobs: ServerJobs, job: str) -> JobDetails:
    """The job continues where it stopped. Answers 409 if the job has ended."""
    return await _change(state, jobs, job, JobStore.resume)


@router.post("/v1/jobs/{job}/retry", summary="Retry a job's failed images", responses=_PROBLEMS)
async def retry_job(state: State, jobs: ServerJobs, job: str) -> JobDetails:
    """Processes failed images again. For a job that failed as a whole, processes all images without a result.
    Answers 409 if the job has not ended.
    """
    return await _change(state, jobs, job, JobStore.retry)


@router.delete("/v1/jobs/{job}", status_code=204, summary="Delete a job", responses=_PROBLEMS)
async def delete_job(state: State, jobs: ServerJobs, job: str) -> Response:
    """Deletes the job, its upload, and all results that no other job shares. A running job is stopped."""
    store = await jobs.store()

    def delete() -> None:
        source = StoredSource.model_validate(store.get(job).source)
        # If the process is killed between the two, the job remains and can be deleted again; no unknown upload remains.
        forget(state.settings, source)
        store.delete(job)

    await run_in(DATABASE, delete)
    return Response(status_code=204)


async def _change(state: AppState, jobs: Jobs, job: str, change: Callable[[JobStore, str], Job]) -> JobDetails:
    store = await jobs.store()
    await run_in(DATABASE, change, store, job)
    jobs.notify()
    return await run_in(DATABASE, _details, store, job, state)


def _details(store: JobStore, job_id: str, state: AppState) -> JobDetails:
    job = store.get(job_id)
    failed = list(itertools.islice(store.records(job.id, status="failed", page=5), 5)) if job.failed else []
    return job_details(job, failed, state.tasks, state.models)


def _join_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each piece costs a step on a thread and a write to the network."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


add_operations(router)
