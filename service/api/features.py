"""POST /v1/features: pooled features of the frozen network, one vector an image."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from backbones.errors import InvalidInput
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
from service.inputs.archives import ArchivedFile
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, ImageSource, TaskRequest, read_request
from service.models.loading import service_of
from service.requests import ask
from service.settings.groups import LimitSettings

if TYPE_CHECKING:
    from heads.results import Embeddings
    from service.engine.session import Session

router = APIRouter(tags=["features"])

NPY = "application/x-npy"
ORDER = (
    "One vector an image, in the order sent. In a vector the timesteps follow each other as listed; within a timestep "
    "the blocks as listed; within a block its channels, each with its pool_size x pool_size averages row by row."
)


def _number_if_digits(value: Any) -> Any:
    # Forms and queries bring texts only, and no block's name is a number.
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10 else value


Block = Annotated[
    Annotated[int, Field(ge=1, le=1000)] | Annotated[str, Field(min_length=1, max_length=200)],
    BeforeValidator(_number_if_digits),
]


class FeaturesRequest(TaskRequest):
    """Images and what to read of them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [EXAMPLE_IMAGE, EXAMPLE_IMAGE], "timesteps": [100]}]}
    )

    image: ImageBytes | None = Field(default=None, description="One image; `images` takes several.")
    images: list[ImageBytes] | None = Field(default=None, min_length=1)
    blocks: list[Block] | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Numbers of the network's blocks from 1, or their diffusers names such as `mid_block`; unset takes "
        "the middle and one of the decoder.",
    )
    timesteps: list[Annotated[int, Field(ge=0, le=100_000)]] = Field(
        default=[100],
        min_length=1,
        max_length=64,
        description="Noise levels to look at. Each costs one row an image and noise.",
    )
    pool_size: int = Field(default=1, ge=1, le=64, description="Maps are averaged over a grid of so many cells a side.")
    noise_samples: int = Field(default=1, ge=0, le=64, description="Noises to average over; 0 leaves the image clean.")
    normalise: bool = Field(default=False, description="Scale each vector to length 1.")
    fit: Literal["crop", "pad", "squash"] = Field(
        default="crop", description="How an image that is not square is fitted."
    )
    format: Literal["json", "npy"] | None = Field(
        default=None,
        description=f"`npy` answers a float32 array file, as the header `Accept: {NPY}` does. Default: json.",
    )

    @model_validator(mode="after")
    def _image_or_images(self) -> FeaturesRequest:
        if (self.image is None) == (self.images is None):
            raise PydanticCustomError("one_of", "Send either `image` or `images`")
        return self

    def files(self) -> list[ImageSource]:
        """All images, in the order sent."""
        return self.images or ([] if self.image is None else [self.image])


class FeaturesAnswer(BaseModel):
    """Vectors, and what stands where in them."""

    vectors: list[list[float]] = Field(description=ORDER)
    dimension: int
    blocks: list[str]
    timesteps: list[int]
    pool_size: int
    order: str = Field(default=ORDER, description="How a vector is laid out.")
    rows: int = Field(description="U-Net rows spent.")
    images: list[ImageAnswer]
    names: list[str] = Field(
        default=[],
        description="Path of each image in the zip that was sent, in the order of the vectors: by name. Empty where "
        "none was sent; an empty name is that of an image beside the zip.",
    )
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/features",
    summary="Feature vectors of images",
    response_model=FeaturesAnswer,
    responses={200: {"content": {NPY: {"schema": {"type": "string", "contentMediaType": NPY}}}}, **task_problems()},
    openapi_extra=request_bodies(FeaturesRequest, curl="-F image=@cat.jpg -F image=@dog.jpg -F pool_size=2"),
)
async def features(request: Request) -> Response:
    """Averages of the frozen U-Net's feature maps (arXiv:2307.08702): for classifiers, search, deduplication."""
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    limits = service.settings.limits
    asked = await read_request(request, FeaturesRequest, limits)
    files = asked.files()
    check_counts(asked, len(files), limits)
    as_npy = (asked.format or ("npy" if NPY in request.headers.get("accept", "") else "json")) == "npy"

    async def pooled(engine: Session, images: Sequence[DecodedImage]) -> tuple[Embeddings, FeaturesAnswer]:
        from heads.feature_pooling.features import pooled_features

        got = await pooled_features(
            engine,
            [image.array for image in images],
            blocks=asked.blocks,
            timesteps=asked.timesteps,
            pool_size=asked.pool_size,
            noise_samples=asked.noise_samples,
            normalise=asked.normalise,
            fit=asked.fit,
        )
        return got, FeaturesAnswer(
            vectors=[],
            dimension=got.vectors.shape[1],
            blocks=list(got.blocks),
            timesteps=list(got.timesteps),
            pool_size=got.pool_size,
            order=ORDER,
            rows=engine.rows,
            images=[image_answer(image) for image in images],
            names=names_of(files),
            backbone=backbone_answer(engine.backbone),
            timing=TimingAnswer(seconds={}),
        )

    got, answer = await ask(
        request,
        "features",
        files,
        pooled,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    if as_npy:
        named = {"Content-Disposition": 'attachment; filename="features.npy"'}
        return Response(await asyncio.to_thread(npy, got), media_type=NPY, headers=named)
    answer = answer.model_copy(update={"timing": timing_answer(request)})
    # Millions of numbers as text take seconds: not on the event loop.
    return Response(await asyncio.to_thread(as_json, got, answer), media_type="application/json")


def names_of(images: Sequence[ImageSource]) -> list[str]:
    """The images' paths in archives; empty where no image came in one."""
    names = [image.name if isinstance(image, ArchivedFile) else "" for image in images]
    return names if any(names) else []


def check_counts(asked: FeaturesRequest, images: int, limits: LimitSettings) -> None:
    """Raises InvalidInput for more images, or more work, than one request may ask for."""
    if images > limits.max_images:
        raise InvalidInput("images", f"{images} images; one request takes {limits.max_images}", hint="send fewer")
    rows = images * len(asked.timesteps) * max(1, asked.noise_samples)
    if rows > limits.max_rows_per_request:
        raise InvalidInput(
            "timesteps",
            f"images, timesteps and noise_samples make {rows:,} U-Net rows; one request takes "
            f"{limits.max_rows_per_request:,}",
            hint="send fewer of them",
        )


def npy(embeddings: Embeddings) -> bytes:
    """The vectors as a .npy file, (N, D) float32."""
    file = BytesIO()
    np.save(file, embeddings.vectors, allow_pickle=False)
    return file.getvalue()


def as_json(embeddings: Embeddings, answer: FeaturesAnswer) -> bytes:
    """The answer with its vectors, as JSON."""
    return answer.model_copy(update={"vectors": embeddings.vectors.tolist()}).model_dump_json().encode()
