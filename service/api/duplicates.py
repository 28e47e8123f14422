"""GET /v1/jobs/{job}/duplicates: near-duplicates among a job's images, by the job's vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from backbones.errors import InvalidInput
from service.api.formats import json_response
from service.dependencies import ServerJobs
from service.errors import ChangedMeanwhile
from service.http.openapi import key_problems, not_ready
from service.jobs.records import UNFINISHED
from service.jobs.store import JobStore
from service.library.duplicates import Copy, duplicate_groups, from_records
from service.threads import COMPARING, run_in

router = APIRouter(tags=["jobs"])

MOST_VECTORS = 200_000


class CopyAnswer(BaseModel):
    """One image of a group."""

    image: str
    similarity: float = Field(description="Cosine similarity with the first image of the group.")


class DuplicatesAnswer(BaseModel):
    """Groups of near-duplicates, the largest first. Two images of a group may be less alike than `similarity`, if other
    images link them.
    """

    groups: list[list[CopyAnswer]]
    images: int = Field(description="Number of images that were compared.")
    similarity: float


@router.get(
    "/v1/jobs/{job}/duplicates",
    summary="Find near-duplicates among a job's images",
    response_model=DuplicatesAnswer,
    responses={**key_problems(), **not_ready()},
)
async def job_duplicates(
    jobs: ServerJobs,
    job: str,
    similarity: Annotated[
        float, Query(ge=-1, le=1, description="Lowest cosine similarity of two images that count as near-duplicates.")
    ] = 0.998,
    index: Annotated[
        Literal["auto", "exact", "hnsw"],
        Query(
            description="`exact` compares every pair. `hnsw` uses an approximate index, which is faster "
            "and may miss pairs. `auto` takes `exact` up to 30,000 images, else `hnsw`."
        ),
    ] = "auto",
) -> Response:
    """Groups the images of a finished job whose results are feature vectors. Run the job with `noise_samples` 0, or
    copies of an image get different vectors. Answers 409 before the job's end.
    """
    store = await jobs.store()
    groups, count = await run_in(COMPARING, find_in, store, job, similarity, index)

    def build() -> DuplicatesAnswer:
        answers = [[CopyAnswer(image=copy.name, similarity=copy.similarity) for copy in group] for group in groups]
        return DuplicatesAnswer(groups=answers, images=count, similarity=similarity)

    return await json_response(build)


def find_in(
    store: JobStore, job_id: str, similarity: float, index: Literal["auto", "exact", "hnsw"]
) -> tuple[list[list[Copy]], int]:
    """The groups among a finished job's images, and how many images there are."""
    job = store.get(job_id)
    if job.status in (*UNFINISHED, "paused"):
        raise ChangedMeanwhile(f"the job is {job.status}", hint="wait until it is done")
    if job.done > MOST_VECTORS:
        message = f"{job.done:,} images; this route compares {MOST_VECTORS:,}"
        raise InvalidInput("job", message, hint="export the results as jsonl, and run `diffsight duplicates` on them")
    stored = from_records((record.name, record.result or {}) for record in store.records(job.id))
    return duplicate_groups(stored, similarity, index), len(stored.names)
