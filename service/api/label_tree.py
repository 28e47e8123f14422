"""POST /v1/classify/label-tree: the way down a tree of thousands of the caller's own labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.api.answers import (
    BackboneAnswer,
    ImageAnswer,
    TimingAnswer,
    backbone_answer,
    image_answer,
    timing_answer,
)
from service.api.bodies import EXAMPLE_IMAGE, request_bodies
from service.api.posteriors import PosteriorAnswer, posterior_fields
from service.api.streams import Tell, event_stream, events_response, wants_events
from service.api.zero_shot import BudgetText, Template, choose_budget
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.models.loading import default_templates, service_of
from service.requests import ask
from service.settings.groups import LimitSettings

if TYPE_CHECKING:
    from heads.diffusion_classifier.label_tree import Label
    from heads.results import LabelPath
    from service.engine.session import Session

router = APIRouter(tags=["classification"])


class LabelTreeRequest(TaskRequest):
    """An image, the tree to descend, and how sure to be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": EXAMPLE_IMAGE, "tree": {"number": ["zero", "one"], "letter": ["a", "b"]}}]
        }
    )

    image: ImageBytes
    tree: dict[str, Any] | list[Any] = Field(
        description='Labels by what is below them: `{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry"]}}`. A '
        "list holds labels and such objects."
    )
    templates: list[Template] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Prompts with {} for the label. Unset: the server's own.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="About the probability that the way is the one that evaluating all siblings on all timesteps "
        "leads. What may be wrong is shared out among the levels.",
    )
    budget: Annotated[int, Field(ge=1, le=1_000_000_000)] | BudgetText | None = Field(
        default=None,
        description="Of all levels together: a number of U-Net rows, or a time such as `250 ms`. Where it is spent the "
        "way ends, `complete` or not.",
    )
    combine: Literal["mean", "best_prompt"] = Field(
        default="mean",
        description="With several templates: race labels by the mean over their prompts, or prompts by themselves.",
    )
    loss: Literal["l2", "l1", "huber"] = Field(
        default="l2", description="How the error of the predicted noise is measured."
    )
    temperature: float | None = Field(
        default=None, ge=1e-6, le=1_000_000, description="What logits are divided by. Unset: the server's own."
    )


class LevelAnswer(PosteriorAnswer):
    """One race on the way down."""

    under: list[str] = Field(description="The labels chosen before it.")


class PathAnswer(BaseModel):
    """The way so far."""

    label: str = Field(description="The last label of the path.")
    path: list[str] = Field(description="Labels from the top of the tree down.")
    complete: bool = Field(description="Whether the path ends in a leaf; false where the budget was spent before.")
    probability: float = Field(description="Product of the probabilities of the labels on the path; not calibrated.")
    confidence: float = Field(
        description="About 1 minus the probability that all siblings on all timesteps would have led elsewhere."
    )
    rows: int = Field(description="U-Net rows spent.")
    levels: list[LevelAnswer] = Field(description="The races, from the top down. A label without siblings is none.")


class LabelTreeAnswer(PathAnswer):
    """The way down, and how it was found."""

    stopped: Literal["decided", "budget"]
    templates: list[str]
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


_EVENTS = (
    "After each look a `progress` event with the way so far (a PathAnswer), then one `answer` event with what the JSON "
    "answer holds; or a `problem` event where it fails after the first of them."
)


@router.post(
    "/v1/classify/label-tree",
    summary="Classify an image by a tree of labels",
    response_model=LabelTreeAnswer,
    responses={**task_problems(), **events_response(_EVENTS)},
    openapi_extra=request_bodies(
        LabelTreeRequest, curl="""-F image=@cat.jpg -F 'tree={"animal": ["cat", "dog"], "vehicle": ["car", "boat"]}'"""
    ),
)
async def label_tree(request: Request) -> LabelTreeAnswer | Response:
    """From the top of the tree down, each time to the label that wins a race among its siblings.

    With `Accept: text/event-stream` the way is streamed as it grows.
    """
    service = service_of(request)
    _ = service.engine  # not ready is said before the body is read
    settings = service.settings
    asked = await read_request(request, LabelTreeRequest, settings.limits)
    templates = asked.templates or default_templates(settings)
    root = read_tree(asked.tree, len(templates), settings.limits)
    budget = choose_budget(asked.budget, settings.limits)

    async def classified(engine: Session, images: Sequence[DecodedImage], tell: Tell | None) -> LabelTreeAnswer:
        from heads.diffusion_classifier.label_tree import classify_tree

        found = await classify_tree(
            engine,
            images[0].array,
            root,
            templates=templates,
            combine=asked.combine,
            confidence=asked.confidence,
            budget=budget,
            loss=asked.loss,
            temperature=asked.temperature or settings.zero_shot_temperature,
            on_progress=None if tell is None else lambda way: tell(PathAnswer(**path_fields(way))),
        )
        return LabelTreeAnswer(
            **path_fields(found),
            stopped=found.stopped,
            templates=templates,
            image=image_answer(images[0]),
            backbone=backbone_answer(engine.backbone),
            timing=TimingAnswer(seconds={}),
        )

    async def answered(tell: Tell | None) -> LabelTreeAnswer:
        answer = await ask(
            request,
            "label_tree",
            [asked.image],
            partial(classified, tell=tell),
            bulk=asked.priority == "bulk",
            deadline_seconds=asked.deadline_seconds,
        )
        return answer.model_copy(update={"timing": timing_answer(request)})

    return await (event_stream(request, answered) if wants_events(request) else answered(None))


def read_tree(tree: object, templates: int, limits: LimitSettings) -> Label:
    """The root of a tree within the limits of one request. Raises InvalidInput with the place of what is wrong."""
    from heads.diffusion_classifier.label_tree import parse_tree

    most = max(1, min(limits.max_labels, limits.max_prompts // templates))
    return parse_tree(tree, most_labels=limits.max_tree_labels, most_children=most)


def path_fields(found: LabelPath) -> dict[str, Any]:
    """The fields of a `PathAnswer`."""
    return {
        "label": found.path[-1],
        "path": list(found.path),
        "complete": found.complete,
        "probability": found.probability,
        "confidence": found.confidence,
        "rows": found.rows,
        "levels": [LevelAnswer(**posterior_fields(one.posterior), under=list(one.under)) for one in found.levels],
    }
