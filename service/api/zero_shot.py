"""POST /v1/classify/zero-shot: which of the caller's own labels fits an image."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
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
from service.api.posteriors import PosteriorAnswer, posterior_fields, progress_answer
from service.api.streams import Tell, event_stream, events_response, wants_events
from service.http.openapi import task_problems
from service.inputs.images import DecodedImage
from service.inputs.request_body import ImageBytes, TaskRequest, read_request
from service.library.calibration import Way, choose_temperature
from service.models.loading import default_templates, service_of
from service.requests import ask
from service.settings.groups import LimitSettings

if TYPE_CHECKING:
    from heads.diffusion_classifier.anytime import Budget
    from heads.diffusion_classifier.schedule import Schedule
    from heads.results import Posterior
    from service.engine.session import Session

router = APIRouter(tags=["classification"])

Label = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Template = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{\}[^{}]*$", max_length=1000)]
BudgetText = Annotated[
    str, StringConstraints(pattern=r"^ *[0-9]+(\.[0-9]+)? *(rows|ms|milliseconds|s)? *$", max_length=40)
]
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
    scheme: Literal["schedule", "race"] | None = Field(
        default=None,
        description="`schedule` drops labels in fixed rounds, as the paper does, and knows no confidence. `race` drops "
        "a label once a paired test says so, and spends more rows only while labels are close. Unset: `race` where "
        "`confidence`, `budget`, `indifference` or `combine` is given, else `schedule`.",
    )
    confidence: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Race: about the probability that the answer is that of all labels on all timesteps. 0.95 where "
        "none is given; 1 evaluates them all.",
    )
    budget: Annotated[int, Field(ge=1, le=1_000_000_000)] | BudgetText | None = Field(
        default=None,
        description="Race: where to stop before it is sure: a number of U-Net rows, or a time such as `250 ms` or "
        "`2 s`. The answer then is the leader, with the confidence it has reached. With a time the answer depends on "
        "how busy the server is.",
    )
    indifference: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Race: a mean error by which the answer may be worse than the best one; labels that are closer "
        "count as tied.",
    )
    combine: Literal["mean", "best_prompt"] | None = Field(
        default=None,
        description="Race with several templates: `mean` races labels by the mean over their prompts; `best_prompt` "
        "races prompts, as the schedule does. Unset: `mean`.",
    )
    schedule: Literal["default", "published"] | RoundsRequest | None = Field(
        default=None,
        description="Schedule: `default` spends a tenth to two fifths of the rows of `published`, which is the "
        "paper's; or rounds of one's own. Unset: `default`.",
    )
    loss: Literal["l2", "l1", "huber"] = Field(
        default="l2", description="How the error of the predicted noise is measured."
    )
    temperature: float | None = Field(
        default=None,
        ge=1e-6,
        le=1_000_000,
        description="What the posterior's logits are divided by. Unset: the one fitted to labelled images where the "
        "server has one for this way of finding the answer, else the server's own.",
    )
    trials: int = Field(default=1, ge=1, le=64, description="Schedule: noises for each timestep.")


class ScheduleAnswer(BaseModel):
    """The rounds that were run."""

    n_samples: list[int]
    to_keep: list[int]


class ZeroShotAnswer(PosteriorAnswer):
    """The posterior over the labels, best first, and how it was found."""

    scheme: Literal["schedule", "race"]
    schedule: ScheduleAnswer | None = Field(description="The rounds; null with a race.")
    templates: list[str]
    image: ImageAnswer
    backbone: BackboneAnswer
    timing: TimingAnswer


_EVENTS = (
    "After each look or round a `progress` event with the posterior so far (a ProgressAnswer), then one `answer` event "
    "with what the JSON answer holds; or a `problem` event where it fails after the first of them."
)


@router.post(
    "/v1/classify/zero-shot",
    summary="Classify an image by labels of your own",
    response_model=ZeroShotAnswer,
    responses={**task_problems(), **events_response(_EVENTS)},
    openapi_extra=request_bodies(ZeroShotRequest, curl="-F image=@cat.jpg -F labels=cat -F labels=dog"),
)
async def zero_shot(request: Request) -> ZeroShotAnswer | Response:
    """Diffusion Classifier (arXiv:2303.16203): the label whose prompt lets the network predict the noise best.

    With `Accept: text/event-stream` the posterior is streamed as it sharpens.
    """
    service = service_of(request)
    engine = service.engine
    limits = service.settings.limits
    asked = await read_request(request, ZeroShotRequest, limits)
    request.state.labels = len(asked.labels)
    templates = asked.templates or default_templates(service.settings)
    hypotheses = check_counts(asked.labels, templates, limits)
    scheme = choose_scheme(asked)
    plan = choose_plan(asked, scheme, hypotheses, len(engine.model.description.alphas_cumprod), limits)
    temperature, calibrated = choose_temperature(
        service.settings, service.calibration, way_of(asked, scheme), asked.temperature
    )

    async def classified(engine: Session, images: Sequence[DecodedImage], tell: Tell | None) -> ZeroShotAnswer:
        posterior = await plan.classify(
            engine,
            images[0].array,
            asked.labels,
            templates=templates,
            loss=asked.loss,
            temperature=temperature,
            calibrated=calibrated,
            on_progress=None if tell is None else lambda found: tell(progress_answer(found)),
        )
        return ZeroShotAnswer(
            **posterior_fields(posterior),
            scheme=scheme,
            schedule=plan.schedule,
            templates=templates,
            image=image_answer(images[0]),
            backbone=backbone_answer(engine.backbone),
            timing=TimingAnswer(seconds={}),
        )

    async def answered(tell: Tell | None) -> ZeroShotAnswer:
        answer = await ask(
            request,
            "zero_shot",
            [asked.image],
            partial(classified, tell=tell),
            bulk=asked.priority == "bulk",
            deadline_seconds=asked.deadline_seconds,
        )
        return answer.model_copy(update={"timing": timing_answer(request)})

    return await (event_stream(request, answered) if wants_events(request) else answered(None))


def choose_scheme(asked: ZeroShotRequest) -> Literal["schedule", "race"]:
    """The scheme that was asked for, by name or by an option that only one has. Raises InvalidInput for both."""
    racing = [name for name in ("confidence", "budget", "indifference", "combine") if getattr(asked, name) is not None]
    scheduled = [name for name, given in (("schedule", asked.schedule), ("trials", asked.trials > 1)) if given]
    scheme = asked.scheme or ("race" if racing else "schedule")
    for name in scheduled if scheme == "race" else racing:
        other = "schedule" if scheme == "race" else "race"
        raise InvalidInput(name, f"goes with scheme={other}, not with a {scheme}", hint="leave out one of the two")
    return scheme


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


def way_of(asked: ZeroShotRequest, scheme: Literal["schedule", "race"]) -> Way | None:
    """How the answer is found, as temperatures are fitted for it; None for a way that none is fitted for."""
    if asked.indifference or asked.trials > 1 or isinstance(asked.schedule, RoundsRequest):
        return None
    if scheme == "schedule":
        return Way(scheme=scheme, loss=asked.loss, schedule=asked.schedule or "default")
    confidence = 0.95 if asked.confidence is None else asked.confidence
    return Way(scheme=scheme, loss=asked.loss, confidence=confidence, combine=asked.combine or "mean")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to classify: an async procedure of engine, image and labels; and the rounds, where there are any."""

    classify: Callable[..., Awaitable[Posterior]]
    schedule: ScheduleAnswer | None = None


def choose_plan(
    asked: ZeroShotRequest,
    scheme: Literal["schedule", "race"],
    hypotheses: int,
    training_steps: int,
    limits: LimitSettings,
) -> Plan:
    """The procedure that was asked for. Raises InvalidInput for one that can not end, or would take too many rows."""
    from heads.diffusion_classifier.classify import classify, classify_anytime

    if scheme == "schedule":
        schedule = choose_schedule(asked, hypotheses, training_steps, limits)
        rounds = ScheduleAnswer(n_samples=list(schedule.n_samples), to_keep=list(schedule.to_keep))
        return Plan(partial(classify, schedule=schedule, trials=asked.trials), rounds)
    options: dict[str, Any] = {
        name: value for name in ("confidence", "indifference", "combine") if (value := getattr(asked, name)) is not None
    }
    return Plan(partial(classify_anytime, budget=choose_budget(asked.budget, limits), **options))


def choose_budget(asked: str | int | None, limits: LimitSettings) -> Budget:
    """What was asked for, within the rows of one request: a race needs no refusal, it ends with what it knows."""
    from heads.diffusion_classifier.anytime import Budget, parse_budget

    budget = Budget() if asked is None else parse_budget(asked)
    most = limits.max_rows_per_request
    return replace(budget, rows=most if budget.rows is None else min(budget.rows, most))


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
