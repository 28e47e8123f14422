"""/v1/concepts: show a thing once by pictures with masks, then find it in any image by the concept's id."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from backbones.errors import InvalidInput, ModelNotFound
from service.api.answers import TimingAnswer, timing_answer
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.http.openapi import keyed, not_ready, task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, ImageSource, TaskRequest, read_request
from service.library.store import Store
from service.models.loading import Service, service_of
from service.requests import ask

if TYPE_CHECKING:
    from service.engine.session import Session
    from service.library.banks import Pair, Shot
    from service.library.concepts import ConceptAbout

router = APIRouter(tags=["few-shot segmentation"])

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
ShotId = Annotated[str, StringConstraints(min_length=1, max_length=64)]

MASKS = (
    "One mask for each image, in the same order and of its image's size: object white, the rest black. A pixel counts "
    "where its brightest channel is at least half of the mask's brightest."
)


class ConceptRequest(TaskRequest):
    """A name, and pictures with masks that show what it means."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "stroke", "images": [EXAMPLE_IMAGE], "masks": [EXAMPLE_IMAGE]}]}
    )

    name: Name = Field(description="What to call it; need not be unique.")
    images: list[ImageBytes] = Field(min_length=1, description="Pictures that show it, other than the ones to ask.")
    masks: list[ImageBytes] = Field(min_length=1, description=MASKS)


class ConceptChange(TaskRequest):
    """What to change of a concept."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE], "masks": [EXAMPLE_IMAGE], "name": "stroke"}]}
    )

    name: Name | None = None
    images: list[ImageBytes] | None = Field(default=None, min_length=1, description="Pictures to add.")
    masks: list[ImageBytes] | None = Field(default=None, min_length=1, description=MASKS)
    remove_shots: list[ShotId] | None = Field(default=None, min_length=1, description="Ids of shots to leave out.")


class ShotAnswer(BaseModel):
    """One support of a concept."""

    id: str = Field(description="Decided by picture and mask: the same pair always has the same.")
    width: int
    height: int
    share: float = Field(description="Of the picture that its mask covers.")


class ConceptAnswer(BaseModel):
    """A concept, without its pictures."""

    id: str
    name: str
    created: str = Field(description="ISO 8601, UTC.")
    changed: str
    shots: list[ShotAnswer]
    bytes: int = Field(description="That it takes in the server's data folder, its banks not counted.")
    notes: list[str] = Field(default=[], description="What to know of the pictures that were sent.")
    timing: TimingAnswer | None = None


class ConceptsAnswer(BaseModel):
    """All concepts, oldest first."""

    concepts: list[ConceptAnswer]


@router.post(
    "/v1/concepts",
    status_code=201,
    summary="Keep pictures with masks as a concept",
    response_model=ConceptAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(ConceptRequest, curl="-F name=cup -F image=@cup.jpg -F mask=@cup.png", raw=False),
)
async def make_concept(request: Request) -> ConceptAnswer:
    """Each picture is encoded once, now: whoever asks by the concept's id later pays for the query alone."""
    service = service_of(request)
    check_loaded(service)
    asked = await read_request(request, ConceptRequest, service.settings.limits)
    check_pairs(asked.images, asked.masks, service, "masks")

    async def make(engine: Session, decoded: Sequence[DecodedImage]) -> ConceptAnswer:
        from service.library.concepts import described

        pairs, notes = await read_pairs(service, engine, decoded)
        about, tensors = await asyncio.to_thread(described, asked.name, pairs)
        await warm(service, engine, about, tensors)
        stored = await asyncio.to_thread(store_of(service).add, about.model_dump(mode="json"), tensors)
        return concept_answer(stored.id, about, stored.bytes, notes)

    return await _answered(request, asked, asked.images, asked.masks, make)


@router.patch(
    "/v1/concepts/{concept}",
    summary="Add shots to a concept, or leave some out",
    response_model=ConceptAnswer,
    responses=task_problems(),
    openapi_extra=request_bodies(ConceptChange, curl="-F image=@cup2.jpg -F mask=@cup2.png", raw=False),
)
async def change_concept(request: Request, concept: str) -> ConceptAnswer:
    """Only new pictures are encoded. 409 where somebody else changed it meanwhile."""
    service = service_of(request)
    check_loaded(service)
    asked = await read_request(request, ConceptChange, service.settings.limits)
    images, masks = asked.images or [], asked.masks or []
    if images or masks:
        check_pairs(images, masks, service, "masks")
    elif asked.name is None and not asked.remove_shots:
        raise InvalidInput("images", "nothing to change", hint="send images with masks, remove_shots, or a name")
    store = store_of(service)

    async def change(engine: Session, decoded: Sequence[DecodedImage]) -> ConceptAnswer:
        from service.library.concepts import ConceptAbout, changed

        old, tensors = await asyncio.to_thread(store.read, concept)
        pairs, notes = await read_pairs(service, engine, decoded)
        about, merged, more = await asyncio.to_thread(
            changed,
            ConceptAbout.model_validate(old.about),
            tensors,
            name=asked.name,
            add=pairs,
            remove=asked.remove_shots or (),
            most_shots=service.settings.limits.max_shots,
        )
        await warm(service, engine, about, merged)
        stored = await asyncio.to_thread(store.replace, old, about.model_dump(mode="json"), merged)
        return concept_answer(stored.id, about, stored.bytes, [*notes, *more])

    return await _answered(request, asked, images, masks, change)


@router.get("/v1/concepts", summary="All concepts", responses={**keyed(), **not_ready()})
async def list_concepts(request: Request) -> ConceptsAnswer:
    """Without their pictures."""
    service = service_of(request)
    check_loaded(service)
    from service.library.concepts import ConceptAbout

    found = await asyncio.to_thread(store_of(service).list)
    return ConceptsAnswer(
        concepts=[concept_answer(one.id, ConceptAbout.model_validate(one.about), one.bytes) for one in found]
    )


@router.get("/v1/concepts/{concept}", summary="One concept", responses=task_problems())
async def get_concept(request: Request, concept: str) -> ConceptAnswer:
    """Its name and its shots, without their pictures."""
    from service.library.concepts import ConceptAbout

    found = await asyncio.to_thread(store_of(service_of(request)).look, concept)
    return concept_answer(found.id, ConceptAbout.model_validate(found.about), found.bytes)


@router.delete("/v1/concepts/{concept}", status_code=204, summary="Forget a concept", responses=task_problems())
async def delete_concept(request: Request, concept: str) -> Response:
    """Requests that have read it already are still answered with it."""
    await asyncio.to_thread(store_of(service_of(request)).delete, concept)
    return Response(status_code=204)


def store_of(service: Service) -> Store:
    """Where this server keeps concepts."""
    return Store(service.settings.data_path(), "concept", most_bytes=service.settings.data_bytes)


def check_loaded(service: Service) -> None:
    """Raises NotReady without a warm engine, and ModelNotFound where it has no few-shot weights."""
    from heads.diffews.bank import VARIANT

    if VARIANT not in service.engine.model.description.variants:
        raise ModelNotFound(
            "this server has no few-shot weights",
            hint="who runs it sets DIFFSIGHT_FEW_SHOT__WEIGHTS to a DiffewS folder that fits the backbone, or to what "
            "`diffsight fit few-shot` wrote",
        )


def check_pairs(images: Sequence[object], masks: Sequence[object], service: Service, field: str) -> None:
    """Raises InvalidInput where there is not one mask an image, or where there are too many."""
    from service.library.concepts import check_shots

    if len(images) != len(masks):
        raise InvalidInput(
            field, f"{len(masks)} masks for {len(images)} images", hint="send one mask for each image, in its order"
        )
    check_shots(len(images), service.settings.limits.max_shots, field)


async def read_pairs(
    service: Service, engine: Session, decoded: Sequence[DecodedImage]
) -> tuple[list[Pair], list[str]]:
    """The supports in a request's pictures, of which the first half are images and the second their masks."""
    from service.library.concepts import checked_pairs

    half = len(decoded) // 2
    arrays = [one.array for one in decoded]
    return await asyncio.to_thread(checked_pairs, arrays[:half], arrays[half:], image_size(service, engine))


def image_size(service: Service, engine: Session) -> int:
    """The side that pictures are squashed to."""
    from heads.diffews.preprocess import input_size

    return service.settings.few_shot.image_size or input_size(engine.backbone)


async def warm(service: Service, engine: Session, about: ConceptAbout, tensors: object) -> None:
    """Compute the banks of a concept that are not there yet, and keep them."""
    from service.library.concepts import shots_of

    shots: list[Shot] = shots_of(about, tensors)  # type: ignore[arg-type]
    form = service.settings.few_shot.bank_form
    await service.banks.banks(engine, shots, size=image_size(service, engine), form=form, on_disk=True)


def concept_answer(concept: str, about: ConceptAbout, stored_bytes: int, notes: Sequence[str] = ()) -> ConceptAnswer:
    """What is told of a concept."""
    return ConceptAnswer(id=concept, bytes=stored_bytes, notes=list(notes), **about.model_dump())


async def _answered(
    request: Request,
    asked: TaskRequest,
    images: Sequence[ImageSource],
    masks: Sequence[ImageSource],
    procedure: object,
) -> ConceptAnswer:
    names = [f"{kind}.{place}" for kind, files in (("images", images), ("masks", masks)) for place in range(len(files))]
    answer: ConceptAnswer = await ask(
        request,
        "few_shot",
        [*images, *masks],
        procedure,  # type: ignore[arg-type]
        names=names,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    return answer.model_copy(update={"timing": timing_answer(request)})
