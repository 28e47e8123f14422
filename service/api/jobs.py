"""/v1/jobs: take many images through a task, watch it, stop it, and fetch what came of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from service.api.job_bodies import (
    JobAnswer,
    JobDetails,
    JobsAnswer,
    job_details,
    job_fields,
    job_request_bodies,
    read_job,
)
from service.api.streams import Tell, event_stream, events_response
from service.errors import ChangedMeanwhile
from service.http.openapi import keyed, not_ready, task_problems
from service.jobs.formats.written import FORMATS, check_format, failures, media_type, text_pieces
from service.jobs.serving import jobs_of
from service.jobs.sources import StoredSource
from service.jobs.store import UNFINISHED, Job, JobStore, new_id
from service.jobs.tasks import TASKS, task_parameters
from service.jobs.uploads import forget
from service.models.loading import service_of

router = APIRouter(tags=["jobs"])

_PROBLEMS = {**keyed(), **not_ready()}
_PIECE_BYTES = 64 * 1024
_SECONDS_BETWEEN_LOOKS = 0.5
# So that whatever stands between keeps the connection of a job that rests.
_LOOKS_BETWEEN_EVENTS = 30
_KINDS = [media_type(form) for form in FORMATS]
_SUFFIXES = {"application/x-ndjson": "jsonl", "application/json": "json", "application/xml": "xml"}


@router.post(
    "/v1/jobs",
    status_code=201,
    summary="Begin a job: many images through one task",
    response_model=JobDetails,
    responses=task_problems(),
    openapi_extra=job_request_bodies(),
)
async def begin_job(request: Request, response: Response) -> JobDetails:
    """It is durable: it outlives a restart of the server, and does nothing twice. Its rows fill what others leave."""
    service, jobs = service_of(request), jobs_of(request)
    _ = service.engine
    store = await jobs.store()
    job_id = new_id()
    asked, source = await read_job(request, service.settings, job_id)
    try:
        parameters = task_parameters(asked.task, asked.parameters, service.settings)
        task = TASKS[asked.task]
        # What this server has no weights for is said now.
        await asyncio.to_thread(task.open, service, task.parameters.model_validate(parameters))
        about = source.model_dump()
        job = await asyncio.to_thread(store.add, asked.task, parameters, about, id=job_id)
    except BaseException:
        await asyncio.to_thread(forget, service.settings, source)
        raise
    jobs.notify()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_details(job, ())


@router.get("/v1/jobs", summary="Jobs, newest first", responses=_PROBLEMS)
async def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[float | None, Query(description="Only those made before; as the last answer has it.")] = None,
) -> JobsAnswer:
    """Those of `diffsight annotate` on the same database are among them."""
    store = await jobs_of(request).store()
    found = await asyncio.to_thread(store.latest, limit=limit, before=before)
    last = found[-1].created if len(found) == limit else None
    return JobsAnswer(jobs=[JobAnswer(**job_fields(job)) for job in found], before=last)


@router.get("/v1/jobs/{job}", summary="One job", responses=_PROBLEMS)
async def get_job(request: Request, job: str) -> JobDetails:
    """How far it is, and the first images that failed."""
    return await asyncio.to_thread(_details, await jobs_of(request).store(), job)


@router.get(
    "/v1/jobs/{job}/events",
    summary="A job's progress as server-sent events",
    response_class=Response,
    responses={**events_response("`progress` events, then one `answer` at its end."), **_PROBLEMS},
)
async def job_events(request: Request, job: str) -> Response:
    """An event with each change, twice a second at most, until the job is done or failed."""
    store = await jobs_of(request).store()

    async def watch(tell: Tell) -> BaseModel:
        told: Job | None = None
        for look in itertools.count():
            now = await asyncio.to_thread(store.get, job)
            if now.status in ("done", "failed"):
                break
            if now != told or look % _LOOKS_BETWEEN_EVENTS == 0:
                tell(JobAnswer(**job_fields(now)))
                told = now
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        return await asyncio.to_thread(_details, store, job)

    return await event_stream(request, watch)


@router.get(
    "/v1/jobs/{job}/results",
    summary="A job's results, in the form that a tool reads",
    response_class=Response,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _KINDS}}, **_PROBLEMS},
)
async def job_results(
    request: Request,
    job: str,
    format: Annotated[str, Query(description=f"One of {', '.join(FORMATS)}, as far as the task allows.")] = "jsonl",
    status: Annotated[
        Literal["done", "failed"], Query(description="`failed`: names and reasons, as `jsonl`.")
    ] = "done",
    partial: Annotated[
        bool, Query(description="Of a job that is under way: the results before its first unfinished image.")
    ] = False,
) -> Response:
    """In the source's order, streamed: the memory does not grow with the job. Any form, as often as you like."""
    store = await jobs_of(request).store()
    found = await asyncio.to_thread(store.get, job)
    form = "jsonl" if status == "failed" else format
    check_format(form, found.task)
    if found.status in (*UNFINISHED, "paused") and not partial:
        raise ChangedMeanwhile(
            f"the job is {found.status}: {found.finished:,} of {found.total:,} images are finished",
            hint="wait for its end, or ask with partial=true",
        )
    before = await asyncio.to_thread(store.first_pending, found.id)
    if status == "failed":
        pieces = failures(store.records(found.id, status="failed", before=before))
    else:
        pieces = text_pieces(form, found, lambda: store.records(found.id, before=before))
    kind = media_type(form)
    name = f"{found.id}-{'failed' if status == 'failed' else form}.{_SUFFIXES.get(kind, 'zip')}"
    named = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_joined(pieces), media_type=kind, headers=named)


@router.post("/v1/jobs/{job}/pause", summary="Let a job rest", responses=_PROBLEMS)
async def pause_job(request: Request, job: str) -> JobDetails:
    """What it has done is kept. 409 for one that has ended."""
    return await _changed(request, job, JobStore.pause)


@router.post("/v1/jobs/{job}/resume", summary="Let a paused job go on", responses=_PROBLEMS)
async def resume_job(request: Request, job: str) -> JobDetails:
    """It begins where it was. 409 for one that has ended."""
    return await _changed(request, job, JobStore.resume)


@router.post("/v1/jobs/{job}/retry", summary="Try a job's failed images again", responses=_PROBLEMS)
async def retry_job(request: Request, job: str) -> JobDetails:
    """And all that has no result, of a job that failed as a whole. 409 for one that has not ended."""
    return await _changed(request, job, JobStore.retry)


@router.delete("/v1/jobs/{job}", status_code=204, summary="Stop a job and forget it", responses=_PROBLEMS)
async def delete_job(request: Request, job: str) -> Response:
    """With its upload, and with the results that no other job shares."""
    store = await jobs_of(request).store()

    def delete() -> None:
        source = StoredSource.model_validate(store.get(job).source)
        store.delete(job)
        forget(service_of(request).settings, source)

    await asyncio.to_thread(delete)
    return Response(status_code=204)


async def _changed(request: Request, job: str, change: Callable[[JobStore, str], Job]) -> JobDetails:
    jobs = jobs_of(request)
    store = await jobs.store()
    await asyncio.to_thread(change, store, job)
    jobs.notify()
    return await asyncio.to_thread(_details, store, job)


def _details(store: JobStore, job_id: str) -> JobDetails:
    job = store.get(job_id)
    failed = list(itertools.islice(store.records(job.id, status="failed", page=5), 5)) if job.failed else []
    return job_details(job, failed)


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each is a step on a thread and a write to the network."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
