"""/v1/concepts: store images with masks of an object once, then find it in any image by the concept's id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.diffews.few_shot import FewShotModel, Name, check_counts
from heads.inputs import Inputs
from service.api.bodies import request_bodies
from service.api.formats import json_response
from service.api.operations import add_operations
from service.api.schemas import MASKS, TaskRequest, TimingAnswer
from service.dependencies import RequestUsage, State, body_as
from service.http.disconnects import while_connected
from service.http.openapi import EXAMPLE_IMAGE, key_problems, not_ready, task_problems
from service.inputs.files import ImageSource, InputFiles
from service.inputs.request_body import ImageBytes
from service.library.banks import Pair
from service.library.concepts import (
    ConceptAbout,
    about_of,
    change_concept,
    check_pairs,
    describe_concept,
    shots_of,
)
from service.library.few_shot import TASK
from service.library.store import Stored, Tensors
from service.run_task import run_procedure
from service.state import AppState
from service.telemetry.usage import Usage
from service.threads import DECODING, LIBRARY, run_in

router = APIRouter(tags=["few-shot segmentation"])

ShotId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class ConceptRequest(TaskRequest):
    """A name, and images with masks that show what it means."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "stroke", "images": [EXAMPLE_IMAGE], "masks": [EXAMPLE_IMAGE]}]}
    )

    name: Name = Field(description="Name of the concept. It need not be unique.")
    images: list[ImageBytes] = Field(
        min_length=1, description="Support images: they show the concept, and are not the images to search."
    )
    masks: list[ImageBytes] = Field(min_length=1, description=MASKS)


class ConceptChange(TaskRequest):
    """Changes to a concept."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE], "masks": [EXAMPLE_IMAGE], "name": "stroke"}]}
    )

    name: Name | None = None
    images: list[ImageBytes] | None = Field(default=None, min_length=1, description="Support images to add.")
    masks: list[ImageBytes] | None = Field(default=None, min_length=1, description=MASKS)
    remove_shots: list[ShotId] | None = Field(default=None, min_length=1, description="Ids of shots to remove.")


class ConceptAnswer(ConceptAbout):
    """A concept, without its images."""

    id: str
    bytes: int = Field(description="Bytes in the server's data folder, without cached banks.")
    notes: list[str] = Field(
        default=[], description="Remarks about the images of the request, such as masks that were adjusted."
    )
    timing: TimingAnswer | None = None


class ConceptsAnswer(BaseModel):
    """All concepts of the server, oldest first."""

    concepts: list[ConceptAnswer]


@router.post(
    "/v1/concepts",
    status_code=201,
    summary="Create a concept from images with masks",
    response_model=ConceptAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(ConceptRequest, curl="-F name=cup -F image=@cup.jpg -F mask=@cup.png", raw=False),
)
async def make_concept(
    request: Request,
    state: State,
    usage: RequestUsage,
    body: Annotated[ConceptRequest, Depends(body_as(ConceptRequest))],
) -> ConceptAnswer:
    """The support images are encoded once, by this request. Later requests with the concept's id encode only the
    image to search.
    """
    check_counts(len(body.images), len(body.masks), state.settings.limits.max_shots, "masks")

    async def make(engine: Engine, model: FewShotModel, pairs: Sequence[Pair], notes: list[str]) -> ConceptAnswer:
        about, tensors = await run_in(DECODING, describe_concept, body.name, pairs)
        await _compute_banks(state, engine, model, about, tensors)
        stored = await run_in(LIBRARY, state.library.concepts.add, about.model_dump(mode="json"), tensors)
        return concept_answer(stored, notes)

    return await _answer(request, state, usage, body, body.images, body.masks, make)


@router.patch(
    "/v1/concepts/{concept}",
    summary="Add shots to a concept, or remove shots",
    response_model=ConceptAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(ConceptChange, curl="-F image=@cup2.jpg -F mask=@cup2.png", raw=False),
)
async def edit_concept(
    request: Request,
    state: State,
    usage: RequestUsage,
    concept: str,
    body: Annotated[ConceptChange, Depends(body_as(ConceptChange))],
) -> ConceptAnswer:
    """Encodes the new images only. Answers 409 if another request changed the concept in the meantime."""
    images, masks = body.images or [], body.masks or []
    store, most = state.library.concepts, state.settings.limits.max_shots
    if images or masks:
        check_counts(len(images), len(masks), most, "masks")
    elif body.name is None and not body.remove_shots:
        raise InvalidInput("images", "nothing to change", hint="send images with masks, remove_shots, or a name")

    async def change(engine: Engine, model: FewShotModel, pairs: Sequence[Pair], notes: list[str]) -> ConceptAnswer:
        old, tensors = await run_in(LIBRARY, store.read, concept)
        about, merged, more = await run_in(
            DECODING,
            change_concept,
            about_of(old),
            tensors,
            name=body.name,
            add=pairs,
            remove=body.remove_shots or (),
            most_shots=most,
        )
        await _compute_banks(state, engine, model, about, merged)
        stored = await run_in(LIBRARY, store.replace, old, about.model_dump(mode="json"), merged)
        return concept_answer(stored, [*notes, *more])

    return await _answer(request, state, usage, body, images, masks, change)


@router.get(
    "/v1/concepts", summary="List concepts", response_model=ConceptsAnswer, responses={**key_problems(), **not_ready()}
)
async def list_concepts(state: State) -> Response:
    """Names and shots of each concept, without images."""
    _ = state.models.for_task(TASK)
    kept = await run_in(LIBRARY, state.library.concepts.list)

    def build() -> ConceptsAnswer:
        concepts = []
        for stored in kept:
            with suppress(InvalidInput):  # written by a newer version
                concepts.append(concept_answer(stored))
        return ConceptsAnswer(concepts=concepts)

    return await json_response(build)


@router.get("/v1/concepts/{concept}", summary="Get one concept", responses=task_problems())
async def get_concept(state: State, concept: str) -> ConceptAnswer:
    """The name and the shots, without images."""
    return concept_answer(await run_in(LIBRARY, state.library.concepts.look, concept))


@router.delete("/v1/concepts/{concept}", status_code=204, summary="Delete a concept", responses=task_problems())
async def delete_concept(state: State, concept: str) -> Response:
    """Requests that already run with the concept are still answered."""
    await run_in(LIBRARY, state.library.concepts.delete, concept)
    return Response(status_code=204)


def concept_answer(stored: Stored, notes: Sequence[str] = ()) -> ConceptAnswer:
    """The answer about a concept. Raises InvalidInput for a concept that a newer version wrote."""
    about = about_of(stored)
    return ConceptAnswer(**about.model_dump(), id=stored.id, bytes=stored.bytes, notes=list(notes))


async def _compute_banks(
    state: AppState, engine: Engine, model: FewShotModel, about: ConceptAbout, tensors: Tensors
) -> None:
    """Compute the missing banks of a concept, and cache them."""
    shots = shots_of(about, tensors)
    await state.library.banks.banks(
        engine, shots, size=model.image_size, form=model.bank_form, variant=model.variant, on_disk=True
    )


async def _answer(
    request: Request,
    state: AppState,
    usage: Usage,
    body: TaskRequest,
    images: Sequence[ImageSource],
    masks: Sequence[ImageSource],
    procedure: Callable[[Engine, FewShotModel, Sequence[Pair], list[str]], Awaitable[ConceptAnswer]],
) -> ConceptAnswer:
    """The answer of `procedure` to the checked pairs of the request's images and masks."""

    async def work(model: FewShotModel, engine: Engine, inputs: Inputs) -> ConceptAnswer:
        shown = [image.array for image in inputs.support_images]
        painted = [mask.mask for mask in inputs.support_masks]
        pairs, notes = await run_in(DECODING, check_pairs, shown, painted, model.image_size)
        return await procedure(engine, model, pairs, notes)

    files = InputFiles(support_images=images, support_masks=masks, support_names=("images", "masks"))
    async with state.models.use(TASK, body.model, seconds=state.settings.limits.deadline_seconds) as loaded:
        run = run_procedure(state, loaded.model, TASK.name, files, partial(work, loaded.head), body.terms(usage))
        answer = await while_connected(request, run)
    return answer.model_copy(update={"timing": TimingAnswer(seconds=usage.round_seconds())})


add_operations(router)
