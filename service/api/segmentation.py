"""POST /v1/segmentation and /v1/segmentation/referring: classes of all pixels, and masks that expressions name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import JSONResponse, Response

from backbones.errors import InvalidInput
from heads.outputs import (
    JSON,
    NPY,
    PNG,
    MaskAnswer,
    choose_format,
    class_map_png,
    class_masks,
    class_overlay,
    mask_answers,
    mask_png,
    masks_overlay,
    npy_file,
)
from service.api.answers import (
    BackboneAnswer,
    ImageAnswer,
    TimingAnswer,
    backbone_answer,
    image_answer,
    timing_answer,
)
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.models.loading import service_of
from service.requests import ask

if TYPE_CHECKING:
    from heads.results import ClassMap, Masks
    from heads.vpd.referring import Expression
    from service.engine.session import Session

router = APIRouter(tags=["segmentation"])

FORMATS = {"json": JSON, "rle": JSON, "polygons": JSON, "png": PNG, "npy": NPY, "overlay": PNG}
FILES: dict[int | str, dict[str, object]] = {
    200: {"content": {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in (PNG, NPY)}}
}

Format = Literal["json", "rle", "polygons", "png", "npy", "overlay"]
Text = Annotated[str, StringConstraints(max_length=10_000)]


class SegmentationOptions(BaseModel):
    """How classes are found."""

    protocol: Literal["fast", "slide", "multiscale"] = Field(
        default="fast",
        description="`slide` and `multiscale` are the published ones: overlapping windows, and five scales of them "
        "with mirror images. `fast` asks once.",
    )


class SegmentationRequest(TaskRequest, SegmentationOptions):
    """An image, and how to look at it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "protocol": "fast"}]})

    image: ImageBytes
    format: Format | None = Field(
        default=None,
        description="`json` and `rle`: each class's mask as COCO RLE; `polygons`: as outlines; `png`: class indices in "
        "the palette's colours; `npy`: uint16 indices; `overlay`: a picture. Default: by `Accept`, else `json`.",
    )


class SegmentationResult(BaseModel):
    """The classes of one image."""

    segments: list[MaskAnswer] = Field(description="Classes that the image has, largest first.")
    classes: list[str] = Field(description="All classes of the head, in the order of indices.")
    palette: list[list[int]] = Field(description="Red, green and blue of each class.")
    head: str


class SegmentationAnswer(SegmentationResult):
    """The classes of the image, and how they were found."""

    rows: int = Field(description="U-Net rows spent.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


class ReferringRequest(TaskRequest):
    """An image, and what to find in it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "expression": "the white stroke"}]}
    )

    image: ImageBytes
    expression: Text | None = Field(default=None, description="What to find; `expressions` takes several.")
    expressions: list[Text] | None = Field(default=None, min_length=1, max_length=64)
    threshold: float = Field(default=0.5, gt=0, lt=1, description="Probability from which a pixel is in the mask.")
    format: Format | None = Field(
        default=None,
        description="`json` and `rle`: masks as COCO RLE; `polygons`: as outlines; `png`: the mask, 255 inside, of one "
        "expression; `npy`: bool, (expressions, height, width); `overlay`: a picture. Default: by `Accept`, else "
        "`json`.",
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> ReferringRequest:
        if (self.expression is None) == (self.expressions is None):
            raise PydanticCustomError("one_of", "Send either `expression` or `expressions`")
        return self

    def texts(self) -> list[str]:
        """All expressions, in the order sent."""
        return self.expressions or ([] if self.expression is None else [self.expression])


class ExpressionAnswer(MaskAnswer):
    """The mask of one expression."""

    read: str = Field(description="The words that the network read.")
    cut: bool = Field(description="Whether the expression was too long and its end was left out.")


class ReferringResult(BaseModel):
    """Masks in the order of the expressions."""

    masks: list[ExpressionAnswer]
    head: str


class ReferringAnswer(ReferringResult):
    """Masks, and how they were found."""

    rows: int = Field(description="U-Net rows spent.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/segmentation",
    summary="The class of every pixel",
    response_model=SegmentationAnswer,
    responses={**FILES, **task_problems()},
    openapi_extra=request_bodies(SegmentationRequest, curl="-F image=@street.jpg -F format=overlay -o classes.png"),
)
async def segmentation(request: Request) -> Response:
    """VPD (arXiv:2303.02153): semantic segmentation by the classes of the head that is served."""
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    head = service.dense.segmentation_head()
    asked = await read_request(request, SegmentationRequest, service.settings.limits)
    form = choose_format(asked.format, request.headers.get("accept", ""), FORMATS)

    async def found(engine: Session, images: Sequence[DecodedImage]) -> tuple[ClassMap, DecodedImage, int]:
        from heads.vpd.segmentation import predict_segmentation

        got = await predict_segmentation(engine, images[0].array, head, protocol=asked.protocol)
        return got, images[0], engine.rows

    got, image, rows = await ask(
        request,
        "segmentation",
        [asked.image],
        found,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    if FORMATS[form] != JSON:
        return await asyncio.to_thread(class_file, got, image, form)
    result = await asyncio.to_thread(segmentation_result, got, head.name, form)
    answer = SegmentationAnswer(
        **result.model_dump(),
        rows=rows,
        image=image_answer(image),
        backbone=backbone_answer(service.engine.model.description),
        timing=timing_answer(request),
    )
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True))


def segmentation_result(got: ClassMap, head: str, form: str) -> SegmentationResult:
    """The answer's part about classes, masks as `form` says."""
    return SegmentationResult(
        segments=mask_answers(class_masks(got), form="polygons" if form == "polygons" else "rle"),
        classes=list(got.classes),
        palette=got.palette.tolist(),
        head=head,
    )


def class_file(got: ClassMap, image: DecodedImage, form: str) -> Response:
    """The answer as a file."""
    if form == "npy":
        named = {"Content-Disposition": 'attachment; filename="classes.npy"'}
        return Response(npy_file(got.class_map), media_type=NPY, headers=named)
    return Response(class_map_png(got) if form == "png" else class_overlay(image.array, got), media_type=PNG)


@router.post(
    "/v1/segmentation/referring",
    summary="The mask that an expression names",
    response_model=ReferringAnswer,
    responses={**FILES, **task_problems()},
    openapi_extra=request_bodies(ReferringRequest, curl="-F image=@table.jpg -F 'expression=the red cup'"),
)
async def referring(request: Request) -> Response:
    """VPD (arXiv:2303.02153): referring segmentation, a mask for each expression."""
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    head = service.dense.referring_head()
    asked = await read_request(request, ReferringRequest, service.settings.limits)
    form = choose_format(asked.format, request.headers.get("accept", ""), FORMATS)
    if form == "png" and len(asked.texts()) > 1:
        raise InvalidInput(
            "format", "one PNG holds the mask of one expression", hint="send format=npy, or one expression"
        )

    async def found(
        engine: Session, images: Sequence[DecodedImage]
    ) -> tuple[Masks, list[Expression], DecodedImage, int]:
        from heads.vpd.referring import predict_referring

        got, read = await predict_referring(engine, images[0].array, head, asked.texts(), threshold=asked.threshold)
        return got, read, images[0], engine.rows

    got, read, image, rows = await ask(
        request,
        "referring",
        [asked.image],
        found,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    if FORMATS[form] != JSON:
        return await asyncio.to_thread(masks_file, got, image, form)
    result = await asyncio.to_thread(referring_result, got, read, head.name, form)
    answer = ReferringAnswer(
        **result.model_dump(),
        rows=rows,
        image=image_answer(image),
        backbone=backbone_answer(service.engine.model.description),
        timing=timing_answer(request),
    )
    return JSONResponse(answer.model_dump(mode="json", exclude_none=True))


def referring_result(got: Masks, read: Sequence[Expression], head: str, form: str) -> ReferringResult:
    """The answer's part about expressions, masks as `form` says."""
    masks = mask_answers(got, form="polygons" if form == "polygons" else "rle")
    return ReferringResult(
        masks=[
            ExpressionAnswer(**mask.model_dump(), read=one.read, cut=one.cut)
            for mask, one in zip(masks, read, strict=True)
        ],
        head=head,
    )


def masks_file(got: Masks, image: DecodedImage, form: str) -> Response:
    """The answer as a file."""
    if form == "npy":
        named = {"Content-Disposition": 'attachment; filename="masks.npy"'}
        return Response(npy_file(got.masks), media_type=NPY, headers=named)
    return Response(mask_png(got.masks[0]) if form == "png" else masks_overlay(image.array, got), media_type=PNG)
