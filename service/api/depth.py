"""POST /v1/depth: metres at every pixel of an image."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from heads.outputs import (
    JSON,
    METRES_PER_UNIT,
    NPY,
    PNG,
    DepthStatistics,
    choose_format,
    depth_overlay,
    depth_picture,
    depth_png,
    depth_statistics,
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
    from heads.results import DepthMap
    from service.engine.session import Session

router = APIRouter(tags=["depth"])

FORMATS = {"json": JSON, "png16": PNG, "npy": NPY, "colour": PNG, "overlay": PNG}


class DepthOptions(BaseModel):
    """How depth is computed."""

    scene: str | None = Field(
        default=None,
        max_length=100,
        description="Scene class of the published network, by name such as `kitchen` or by row. Unset: the mean of "
        "all classes. Fitted heads have none.",
    )
    protocol: Literal["fast", "published"] = Field(
        default="fast", description="`published` averages square windows and their mirror images; `fast` asks once."
    )
    windows: int = Field(default=2, ge=1, le=64, description="Windows along the longer side, of `published`.")
    flip: bool = Field(default=True, description="Look at each window's mirror image too, of `published`.")


class DepthRequest(TaskRequest, DepthOptions):
    """An image, and how to look at it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "protocol": "fast"}]})

    image: ImageBytes
    format: Literal["json", "png16", "npy", "colour", "overlay"] | None = Field(
        default=None,
        description=f"`png16`: grey, value times {METRES_PER_UNIT} is metres; `npy`: float32 metres; `colour` and "
        "`overlay`: pictures, near is bright. Default: by `Accept`, else `json`.",
    )


class DepthResult(BaseModel):
    """Depth of one image."""

    statistics: DepthStatistics
    unit: Literal["metre"] = "metre"
    metres_per_unit: float = Field(default=METRES_PER_UNIT, description="Scale of `png16`.")
    png16: str = Field(description="The depth map, a 16-bit grey PNG file in base64.")
    max_metres: float = Field(description="The largest depth that the network can give.")
    scene: str = Field(description="Scene class that the network was told; `mean` of all, empty where it has none.")
    scene_given: bool = Field(description="Whether the request named it.")
    head: str


class DepthAnswer(DepthResult):
    """Depth of the image, and how it was made."""

    rows: int = Field(description="U-Net rows spent.")
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/depth",
    summary="Metric depth of an image",
    response_model=DepthAnswer,
    responses={
        200: {"content": {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in (PNG, NPY)}},
        **task_problems(),
    },
    openapi_extra=request_bodies(DepthRequest, curl="-F image=@room.jpg -F format=colour -o depth.png"),
)
async def depth(request: Request) -> Response:
    """VPD (arXiv:2303.02153): metres at every pixel, of an image of any size."""
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    head = service.dense.depth_head()
    asked = await read_request(request, DepthRequest, service.settings.limits)
    form = choose_format(asked.format, request.headers.get("accept", ""), FORMATS)

    async def found(engine: Session, images: Sequence[DecodedImage]) -> tuple[DepthMap, DecodedImage, int]:
        from heads.vpd.depth import predict_depth

        got = await predict_depth(
            engine,
            images[0].array,
            head,
            scene=asked.scene,
            protocol=asked.protocol,
            windows=asked.windows,
            flip=asked.flip,
        )
        return got, images[0], engine.rows

    got, image, rows = await ask(
        request,
        "depth",
        [asked.image],
        found,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    if form != "json":
        return await asyncio.to_thread(as_file, got, image, form)
    result = await asyncio.to_thread(depth_result, got, head.name)
    answer = DepthAnswer(
        **result.model_dump(),
        rows=rows,
        image=image_answer(image),
        backbone=backbone_answer(service.engine.model.description),
        timing=timing_answer(request),
    )
    return JSONResponse(answer.model_dump(mode="json"))


def depth_result(got: DepthMap, head: str) -> DepthResult:
    """The answer's part about depth."""
    return DepthResult(
        statistics=depth_statistics(got),
        png16=base64.b64encode(depth_png(got)).decode(),
        max_metres=got.max_metres,
        scene=got.scene,
        scene_given=got.scene_given,
        head=head,
    )


def as_file(got: DepthMap, image: DecodedImage, form: str) -> Response:
    """The answer as a file; its scale and scene stand in headers."""
    headers = {"X-Depth-Metres-Per-Unit": str(METRES_PER_UNIT if form == "png16" else 1), "X-Depth-Scene": got.scene}
    if form == "npy":
        named = {"Content-Disposition": 'attachment; filename="depth.npy"'}
        return Response(npy_file(got.metres), media_type=NPY, headers={**headers, **named})
    if form == "png16":
        return Response(depth_png(got), media_type=PNG, headers=headers)
    picture = depth_picture(got) if form == "colour" else depth_overlay(image.array, got)
    return Response(picture, media_type=PNG, headers={"X-Depth-Scene": got.scene})
