"""POST /v1/segmentation/few-shot: where, in an image, is what other pictures with masks show."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from backbones.errors import InvalidInput
from heads.outputs import JSON, NPY, PNG, MaskAnswer, choose_format
from service.api.answers import (
    BackboneAnswer,
    ImageAnswer,
    TimingAnswer,
    backbone_answer,
    image_answer,
    timing_answer,
)
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.api.concepts import MASKS, Name, check_loaded, check_pairs, image_size, read_pairs, store_of
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.models.loading import Service, service_of
from service.requests import ask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backbones.rows import Bank
    from heads.results import ConceptMask
    from service.engine.session import Session
    from service.library.banks import Shot

router = APIRouter(tags=["few-shot segmentation"])

FORMATS: Mapping[str, str] = MappingProxyType({"json": JSON, "polygons": JSON, "png": PNG, "overlay": PNG, "npy": NPY})


class FewShotRequest(TaskRequest):
    """An image, and what to find in it: concepts by their ids, or pictures with masks in the request itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": EXAMPLE_IMAGE, "support_images": [EXAMPLE_IMAGE], "support_masks": [EXAMPLE_IMAGE]}]
        }
    )

    image: ImageBytes
    concepts: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] | None = Field(
        default=None, min_length=1, max_length=256, description="Ids of concepts; several give a map of labels."
    )
    support_images: list[ImageBytes] | None = Field(
        default=None, min_length=1, description="Pictures that show one thing, where no concept was made of it."
    )
    support_masks: list[ImageBytes] | None = Field(default=None, min_length=1, description=MASKS)
    name: Name = Field(default="object", description="What to call that which the supports show.")
    threshold: Literal["relative", "absolute"] = Field(
        default="relative",
        description="`relative`, as published, cuts at a share of the strongest value: it always finds something, also "
        "where nothing is. `absolute` can leave the mask empty; use it to ask whether, or with several concepts.",
    )
    threshold_value: float | None = Field(
        default=None, gt=0, lt=1, description="Unset: 0.25 relative, as published; 0.15 absolute."
    )
    support_sampling: bool = Field(
        default=False,
        description="Draw the tokens of a concept's supports down to those of one. Its cost no longer grows with its "
        "shots, and weights trained on one shot are reported to score better so.",
    )
    format: Literal["json", "polygons", "png", "overlay", "npy"] | None = Field(
        default=None,
        description="`json`: COCO RLE; `polygons`: outlines; `png`: the mask, or of several concepts their numbers; "
        "`overlay`: the image with the masks; `npy`: (H, W) int32 numbers. The header `Accept` chooses too.",
    )


class FoundConcept(BaseModel):
    """One concept's part of the answer."""

    label: int = Field(description="Its number in label maps, from 1; 0 is none.")
    id: str = Field(description="Of the concept; empty for supports in the request.")
    shots: int
    presence: float = Field(
        description="0 to 1, the strongest value of its map: low where it is likely not in the image. Not calibrated."
    )
    cut: float = Field(description="What a pixel's strength had to be above.")
    mask: MaskAnswer = Field(description="Its pixels; one that several concepts want goes to the strongest.")


class FewShotAnswer(BaseModel):
    """What was found."""

    concepts: list[FoundConcept]
    notes: list[str] = Field(default=[], description="What to know of the supports that were sent.")
    rows: int = Field(description="U-Net rows spent.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/segmentation/few-shot",
    summary="Segment what other pictures show",
    response_model=FewShotAnswer,
    responses={
        200: {
            "content": {
                PNG: {"schema": {"type": "string", "contentMediaType": PNG}},
                NPY: {"schema": {"type": "string", "contentMediaType": NPY}},
            }
        },
        **task_problems(),
    },
    openapi_extra=request_bodies(
        FewShotRequest, curl="-F image=@kitchen.jpg -F support_image=@cup.jpg -F support_mask=@cup.png"
    ),
)
async def few_shot_segmentation(request: Request) -> Response:
    """DiffewS (arXiv:2410.02369): one pass, no noise. Supports are encoded once; concepts' banks are kept."""
    service = service_of(request)
    check_loaded(service)
    asked = await read_request(request, FewShotRequest, service.settings.limits)
    images, masks = asked.support_images or [], asked.support_masks or []
    if (asked.concepts is None) is not bool(images or masks):
        raise InvalidInput(
            "concepts",
            "send either concepts, or support_images with support_masks",
            hint="a concept's id comes from POST /v1/concepts; one support at least is needed",
        )
    if asked.concepts is None:
        check_pairs(images, masks, service, "support_masks")
    form = choose_format(asked.format, request.headers.get("accept", ""), FORMATS)

    async def found(engine: Session, decoded: Sequence[DecodedImage]) -> tuple[FewShotAnswer, bytes]:
        query, *supports = decoded
        names, ids, shots, notes = await shown_concepts(service, engine, asked, supports)
        results = await concept_masks(service, engine, asked, query, shots)
        return await asyncio.to_thread(_encoded, engine, form, query, results, names, ids, shots, notes)

    answer, data = await ask(
        request,
        "few_shot",
        [asked.image, *images, *masks],
        found,
        names=[
            "image",
            *(f"support_images.{place}" for place in range(len(images))),
            *(f"support_masks.{place}" for place in range(len(masks))),
        ],
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    if FORMATS[form] != JSON:
        return Response(data, media_type=FORMATS[form])
    timed = answer.model_copy(update={"timing": timing_answer(request)})
    return Response(timed.model_dump_json(), media_type=JSON)


async def shown_concepts(
    service: Service, engine: Session, asked: FewShotRequest, supports: Sequence[DecodedImage]
) -> tuple[list[str], list[str], list[list[Shot]], list[str]]:
    """Name, id and shots of each concept, and notes. Raises NothingStored for an id that is not there."""
    from service.library.banks import Shot, shot_id
    from service.library.concepts import read_concept

    if asked.concepts is None:
        pairs, notes = await read_pairs(service, engine, supports)
        shots = [Shot(shot_id(*pair), lambda pair=pair: pair) for pair in pairs]  # type: ignore[misc]
        return [asked.name], [""], [shots], [note.replace("supports.", "support_masks.") for note in notes]
    store, ids = store_of(service), list(dict.fromkeys(asked.concepts))
    read = [await asyncio.to_thread(read_concept, store, one) for one in ids]
    return [about.name for about, _ in read], ids, [shots for _, shots in read], []


async def concept_masks(
    service: Service, engine: Session, asked: FewShotRequest, query: DecodedImage, concepts: list[list[Shot]]
) -> list[ConceptMask]:
    """Each concept's mask: banks from the cache, then all queries in one asking."""
    from heads.diffews.bank import concatenated, sampled
    from heads.diffews.segment import segment_concepts
    from heads.diffews.threshold import Threshold

    size, form = image_size(service, engine), service.settings.few_shot.bank_form
    kept = asked.concepts is not None
    banks: list[Bank] = []
    for shots in concepts:
        members = await service.banks.banks(engine, shots, size=size, form=form, on_disk=kept)
        seed = "".join(sorted(shot.id for shot in shots)).encode()
        if asked.support_sampling:
            banks.append(await engine.run(sampled, members, seed))
        else:
            banks.append(await engine.run(concatenated, members))
    default = 0.25 if asked.threshold == "relative" else 0.15
    threshold = Threshold(asked.threshold, asked.threshold_value or default)
    return await segment_concepts(engine, query.array, banks, thresholds=[threshold] * len(banks), size=size)


def _encoded(
    engine: Session,
    form: str,
    query: DecodedImage,
    results: Sequence[ConceptMask],
    names: Sequence[str],
    ids: Sequence[str],
    shots: Sequence[Sequence[Shot]],
    notes: list[str],
) -> tuple[FewShotAnswer, bytes]:
    """The answer, and the bytes of the forms that are no JSON."""
    from heads.outputs import mask_png, masks_overlay, npy_file, number_map_png
    from heads.results import Masks

    labels, masks, scores = told_apart(results)
    data = b""
    if form == "png":
        data = mask_png(masks[0]) if len(results) == 1 else number_map_png(labels)
    elif form == "overlay":
        data = masks_overlay(query.array, Masks(masks, tuple(names), tuple(scores)))
    elif form == "npy":
        data = npy_file(labels)
    concepts = found_concepts(results, names, ids, shots, form=form)
    answer = FewShotAnswer(
        concepts=concepts,
        notes=notes,
        rows=engine.rows,
        image=image_answer(query),
        backbone=backbone_answer(engine.backbone),
        timing=TimingAnswer(seconds={}),
    )
    return answer, data


def told_apart(results: Sequence[ConceptMask]) -> tuple[NDArray[np.int32], NDArray[np.bool_], list[float]]:
    """Concepts that share no pixel: the map of their numbers (H, W), masks (N, H, W) bool, mean strengths inside."""
    import numpy as np

    from heads.diffews.segment import label_map

    labels = label_map(results)
    masks = labels[None] == np.arange(1, len(results) + 1)[:, None, None]
    scores = [float(one.strength[mask].mean()) if mask.any() else 0.0 for one, mask in zip(results, masks, strict=True)]
    return labels, masks, scores


def found_concepts(
    results: Sequence[ConceptMask],
    names: Sequence[str],
    ids: Sequence[str],
    shots: Sequence[Sequence[Shot]],
    *,
    form: str = "json",
) -> list[FoundConcept]:
    """What is told of each concept, masks as COCO RLE, or with the form `polygons` as outlines."""
    from heads.outputs import mask_answer

    _, masks, scores = told_apart(results)
    return [
        FoundConcept(
            label=place + 1,
            id=ids[place],
            shots=len(shots[place]),
            presence=round(one.presence, 6),
            cut=round(one.cut, 6),
            mask=mask_answer(
                masks[place], names[place], scores[place], form="polygons" if form == "polygons" else "rle"
            ),
        )
        for place, one in enumerate(results)
    ]
