"""POST /v1/classify/zero-shot: which of the caller's own labels fits an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
from service.api.inputs import ImageBytes, TaskRequest, read_request
from service.images import DecodedImage
from service.openapi import task_problems
from service.requests import ask
from service.settings import LimitSettings
from service.startup import service_of

if TYPE_CHECKING:
    from heads.diffusion_classifier.schedule import Schedule
    from heads.results import Posterior
    from service.engine.worker import RequestEngine

router = APIRouter(tags=["classification"])

Label = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Template = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{\}[^{}]*$", max_length=1000)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class RoundsRequest(BaseModel):
    """A schedule of one's own: after each round only the best hypotheses go on."""

    model_config = ConfigDict(extra="forbid")

    n_samples: list[Count] = Field(min_length=1, max_length=32, description="Timesteps each round visits.")
    to_keep: list[Count] = Field(
        min_length=1, max_length=32, description="Hypotheses that each round keeps; it falls, and ends in 1."
    )


class ZeroShotRequest(TaskRequest):
    """An image, the labels to choose from, and how much work to spend."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "labels": ["a zero", "a one"], "loss": "l2"}]}
    )

    image: ImageBytes
    labels: list[Label] = Field(
        min_length=1, description="Texts to choose from, each once. A single label has probability 1."
    )
    templates: list[Template] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Prompts with {} for the label. Each label in each template is a hypothesis; the label of the best "
        "one wins. Unset: the server's own, `a photo of a {}.` unless it was changed.",
    )
    schedule: Literal["default", "published"] | RoundsRequest = Field(
        default="default",
        description="`default` spends a tenth to two fifths of the rows of `published`, which is the paper's; or "
        "rounds of one's own.",
    )
    loss: Literal["l2", "l1", "huber"] = Field(
        default="l2", description="How the error of the predicted noise is measured."
    )
    temperature: float | None = Field(
        default=None,
        ge=1e-6,
        le=1_000_000,
        description="What the posterior's logits are divided by. Unset: the server's own.",
    )
    trials: int = Field(default=1, ge=1, le=64, description="Noises for each timestep.")


class LabelAnswer(BaseModel):
    """One label's part of the posterior."""

    label: str
    probability: float
    mean_error: float = Field(
        description="Mean error of the predicted noise over the rows it got before it was dropped; comparable only "
        "between labels that were dropped in the same round."
    )
    rounds_survived: int


class ScheduleAnswer(BaseModel):
    """The rounds that were run."""

    n_samples: list[int]
    to_keep: list[int]


class ZeroShotAnswer(BaseModel):
    """The posterior over the labels, best first."""

    label: str = Field(description="The answer: the label that outlived all rounds.")
    posterior: list[LabelAnswer]
    calibrated: bool = Field(description="False while the temperature was not fitted to labelled data.")
    rows: int = Field(description="U-Net rows spent.")
    schedule: ScheduleAnswer
    templates: list[str]
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


@router.post(
    "/v1/classify/zero-shot",
    summary="Classify an image by labels of your own",
    responses=task_problems(),
    openapi_extra=request_bodies(ZeroShotRequest, curl="-F image=@cat.jpg -F labels=cat -F labels=dog"),
)
async def zero_shot(request: Request) -> ZeroShotAnswer:
    """Diffusion Classifier (arXiv:2303.16203): the label whose prompt lets the network predict the noise best."""
    service = service_of(request)
    engine = service.engine
    limits = service.settings.limits
    asked = await read_request(request, ZeroShotRequest, limits)
    request.state.labels = len(asked.labels)
    templates = asked.templates or [service.settings.zero_shot_template]
    hypotheses = check_counts(asked.labels, templates, limits)
    schedule = choose_schedule(asked, hypotheses, len(engine.model.description.alphas_cumprod), limits)

    async def classified(engine: RequestEngine, images: Sequence[DecodedImage]) -> ZeroShotAnswer:
        from heads.diffusion_classifier.classify import classify

        posterior = await classify(
            engine,
            images[0].array,
            asked.labels,
            templates=templates,
            schedule=schedule,
            loss=asked.loss,
            trials=asked.trials,
            temperature=asked.temperature or service.settings.zero_shot_temperature,
        )
        return ZeroShotAnswer(
            label=posterior.label,
            posterior=ranked(posterior),
            calibrated=posterior.calibrated,
            rows=posterior.rows,
            schedule=ScheduleAnswer(n_samples=list(schedule.n_samples), to_keep=list(schedule.to_keep)),
            templates=templates,
            image=image_answer(images[0]),
            backbone=backbone_answer(engine.backbone),
            timing=TimingAnswer(seconds={}),
        )

    answer = await ask(
        request,
        "zero_shot",
        [asked.image],
        classified,
        bulk=asked.priority == "bulk",
        deadline_seconds=asked.deadline_seconds,
    )
    return answer.model_copy(update={"timing": timing_answer(request)})


def check_counts(labels: Sequence[str], templates: Sequence[str], limits: LimitSettings) -> int:
    """How many hypotheses there are. Raises InvalidInput where they are more than the settings allow."""
    if len(labels) > limits.max_labels:
        raise InvalidInput(
            "labels", f"{len(labels)} labels; one request takes {limits.max_labels}", hint="send fewer labels"
        )
    hypotheses = len(labels) * len(templates)
    if hypotheses > limits.max_prompts:
        raise InvalidInput(
            "templates",
            f"{len(labels)} labels in {len(templates)} templates make {hypotheses} prompts; "
            f"one request takes {limits.max_prompts}",
            hint="send fewer templates",
        )
    return hypotheses


def choose_schedule(asked: ZeroShotRequest, hypotheses: int, training_steps: int, limits: LimitSettings) -> Schedule:
    """The schedule to run. Raises InvalidInput for one that can not end, or needs more rows than one request may."""
    from heads.diffusion_classifier.schedule import (
        Schedule,
        check_schedule,
        default_schedule,
        new_timesteps,
        published_schedule,
    )

    if isinstance(asked.schedule, RoundsRequest):
        chosen = Schedule(tuple(asked.schedule.n_samples), tuple(asked.schedule.to_keep))
    else:
        chosen = published_schedule(hypotheses) if asked.schedule == "published" else default_schedule(hypotheses)
    check_schedule(chosen, hypotheses, training_steps)
    survivors = (hypotheses, *chosen.to_keep)
    rows = asked.trials * sum(
        kept * len(added) for kept, added in zip(survivors, new_timesteps(chosen, training_steps), strict=False)
    )
    if rows > limits.max_rows_per_request:
        raise InvalidInput(
            "schedule",
            f"needs {rows:,} U-Net rows; one request takes {limits.max_rows_per_request:,}",
            hint="send fewer labels, templates or trials, or schedule=default",
        )
    return chosen


def ranked(posterior: Posterior) -> list[LabelAnswer]:
    """The labels, most probable first; the answer leads those that tie with it."""
    answers = [
        LabelAnswer(label=label, probability=probability, mean_error=error, rounds_survived=rounds)
        for label, probability, error, rounds in zip(
            posterior.labels,
            posterior.probabilities,
            posterior.mean_errors,
            posterior.rounds_survived,
            strict=True,
        )
    ]
    return sorted(answers, key=lambda one: (one.label != posterior.label, -one.probability, one.mean_error))
