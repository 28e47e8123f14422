"""The request and the answer of each task's route, built from the task; and the parts that all answers share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from backbones.backbone import Description
from heads.inputs import ImageAnswer
from service.http.openapi import EXAMPLE_IMAGE
from service.inputs.files import ImageSource, InputFiles
from service.inputs.request_body import ImageBytes
from service.run_task import Terms
from service.tasks import AnyTask
from service.telemetry.usage import Usage

MASKS = (
    "One mask for each image, in the same order and of the same size: the object is white, all "
    "else black. A pixel belongs to the object if its brightest channel is at least half of the brightest "
    "value of the mask."
)
# A horizontal stroke: an image of another class than EXAMPLE_IMAGE.
OTHER_EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAE0lEQVR42mNgGDDwHw5wCQwAAACXBhPtSmRznAAAAABJRU5ErkJggg=="
)


class TaskRequest(BaseModel):
    """Fields that the requests of all tasks share."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    priority: Literal["interactive", "bulk"] = Field(
        default="interactive", description="`bulk` work waits for `interactive` work, but always makes some progress."
    )
    deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Time limit in seconds. After it the request fails with status 504 and its waiting "
        "work is dropped. The server's own limit is the maximum and the default.",
    )

    model: str | None = Field(
        default=None,
        max_length=200,
        description="Id of the model to use, from GET /v1/models. Unset: the default model of the task.",
    )

    @property
    def bulk(self) -> bool:
        """Whether interactive requests go first."""
        return self.priority == "bulk"

    def terms(self, usage: Usage) -> Terms:
        """The terms on which to run the request."""
        return Terms(usage, self.bulk, self.deadline_seconds)


class BackboneAnswer(BaseModel):
    """The backbone that computed the answer."""

    name: str
    revision: str = Field(description="Digest of the weights. If it is unchanged, answers are unchanged.")


class TimingAnswer(BaseModel):
    """Time spent in each stage of the request. A stage may share batches with other requests."""

    seconds: dict[str, float] = Field(
        description="Wall-clock seconds of each stage: `decode` (read the image), `host`, `encode`, "
        "`embed`, `unet` and `run`. The time that a stage waits for the device is included."
    )


def describe_backbone(backbone: Description) -> BackboneAnswer:
    """The network's part of an answer."""
    return BackboneAnswer(name=backbone.name, revision=backbone.revision)


def title_of(task: AnyTask) -> str:
    """Prefix of a task's schema names in the API's document: `ZeroShot` of `ZeroShotOptions`."""
    return task.options.__name__.removesuffix("Options")


def _image_or_images(self: Any) -> Any:
    if (self.image is None) == (self.images is None):
        raise PydanticCustomError("one_of", "Send either `image` or `images`", {"field": "image"})
    return self


def request_model(task: AnyTask) -> type[BaseModel]:
    """The request of a task's route: its images, its options, the form of the answer, priority and deadline."""
    images: dict[str, Any] = {"image": (ImageBytes, ...)}
    example: dict[str, Any] = {"image": EXAMPLE_IMAGE}
    validators: dict[str, Any] = {}
    if task.inputs == "images":
        several = Annotated[list[ImageBytes] | None, Field(min_length=1, description="Several images.")]
        single = Annotated[ImageBytes | None, Field(description="One image. Send several as `images`.")]
        images = {"image": (single, None), "images": (several, None)}
        example = {"images": [EXAMPLE_IMAGE, EXAMPLE_IMAGE]}
        validators = {"_image_or_images": model_validator(mode="after")(_image_or_images)}
    if task.inputs == "image_supports":
        supports = Annotated[
            list[ImageBytes] | None,
            Field(
                min_length=1, description="Support images that all show the same thing, other than the image to search."
            ),
        ]
        masks = Annotated[list[ImageBytes] | None, Field(min_length=1, description=MASKS)]
        images |= {"support_images": (supports, None), "support_masks": (masks, None)}
        example |= {"support_images": [EXAMPLE_IMAGE], "support_masks": [EXAMPLE_IMAGE]}
    if task.forms:
        names = Literal[("json", *task.forms)]  # type: ignore[valid-type]
        lines = "; ".join(f"`{name}`: {form.about}" for name, form in task.forms.items())
        about = f"Form of the answer. Unset: what the header `Accept` names, else `json`. {lines}."
        images["format"] = (Annotated[names | None, Field(description=about)], None)
    model = create_model(
        f"{title_of(task)}Request",
        __base__=(TaskRequest, task.options),
        __doc__=task.options.__doc__,
        __validators__=validators,
        __module__=__name__,
        **images,
    )
    model.model_config["json_schema_extra"] = {"examples": [example | dict(task.example)]}
    return model


def answer_model(task: AnyTask) -> type[BaseModel]:
    """The answer of a task's route: the task's own part, and how it was made."""
    fields: dict[str, Any] = {
        "rows": (int, Field(description="Number of U-Net rows computed.")),
        "backbone": (BackboneAnswer, ...),
        "timing": (TimingAnswer, ...),
    }
    if task.inputs == "images":
        fields["images"] = (list[ImageAnswer], ...)
        fields["names"] = (list[str], Field(default=[], description=_NAMES))
    else:
        fields["image"] = (ImageAnswer, ...)
    name = f"{title_of(task)}Answer"
    return create_model(name, __base__=task.answer, __doc__=task.answer.__doc__, __module__=__name__, **fields)


_NAMES = (
    "Name of each image of a zip, in the order of the answers, which is by name. Empty if the "
    "request had no zip. The name is empty for an image that was sent outside of the zip."
)


def options_of(task: AnyTask, request: Any) -> Any:
    """The task's options from a request; fields that the request sets are marked as set."""
    sent = {name: getattr(request, name) for name in request.model_fields_set if name in task.options.model_fields}
    return task.options.model_validate(sent)


def files_of(task: AnyTask, request: Any) -> InputFiles:
    """The image files of a request."""
    if task.inputs == "images":
        images: list[ImageSource] = request.images or [request.image]
        return InputFiles(images)
    supports = task.inputs == "image_supports"
    return InputFiles(
        [request.image],
        (request.support_images or ()) if supports else (),
        (request.support_masks or ()) if supports else (),
    )
