"""Parts that the answers of several routes have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from starlette.requests import Request

from service.inputs.images import DecodedImage

if TYPE_CHECKING:
    from backbones.backbone import Description


class ImageAnswer(BaseModel):
    """The picture as it was read."""

    width: int = Field(description="Pixels, after orientation.")
    height: int = Field(description="Pixels, after orientation.")
    exif_orientation: int = Field(description="What the file asked for, 1 to 8. It has been applied.")
    more_frames: bool = Field(description="The file holds further frames or pages; only the first was read.")
    format: str


class BackboneAnswer(BaseModel):
    """Which network answered."""

    name: str
    revision: str = Field(description="Digest of the weights: it changes when any answer could.")


class TimingAnswer(BaseModel):
    """Where the time went. Stages of one request may overlap with other requests' work in the same batches."""

    seconds: dict[str, float] = Field(
        description="Wall seconds by stage: `decode` of the image, then `host`, `encode`, `embed`, `unet`, `run`, each "
        "with its wait for the device."
    )


def image_answer(image: DecodedImage) -> ImageAnswer:
    """What is told of a decoded image."""
    return ImageAnswer(
        width=image.width,
        height=image.height,
        exif_orientation=image.exif_orientation,
        more_frames=image.more_frames,
        format=image.format,
    )


def backbone_answer(backbone: Description) -> BackboneAnswer:
    """What is told of the network with every answer."""
    return BackboneAnswer(name=backbone.name, revision=backbone.revision)


def timing_answer(request: Request) -> TimingAnswer:
    """The stages that the request's state has, rounded to microseconds."""
    return TimingAnswer(seconds={stage: round(seconds, 6) for stage, seconds in request.state.timings.items()})
