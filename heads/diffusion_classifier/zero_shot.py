"""The task `zero-shot`: the label that fits an image best, among labels of the request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.diffusion_classifier.answers import PosteriorAnswer, answer_progress, posterior_fields
from heads.diffusion_classifier.calibration import ScoringMethod
from heads.diffusion_classifier.classify import classify, classify_anytime
from heads.diffusion_classifier.model import (
    BudgetChoice,
    Label,
    Loss,
    Temperature,
    Templates,
    ZeroShotModel,
    check_label_counts,
    open_zero_shot,
)
from heads.diffusion_classifier.schedule import (
    Schedule,
    check_schedule,
    default_schedule,
    new_timesteps,
    published_schedule,
)
from heads.inputs import InputCounts, Inputs
from heads.results import Posterior
from heads.task import CommaSeparated, Limits, Options, Task, check_rows

Scheme = Literal["schedule", "race"]
Count = Annotated[int, Field(ge=1, le=100_000)]

DEFAULT_CONFIDENCE = 0.95


class RoundsRequest(BaseModel):
    """A schedule of your own. After each round, only the best hypotheses are kept."""

    model_config = ConfigDict(extra="forbid")

    n_samples: list[Count] = Field(
        min_length=1, max_length=32, description="Number of timesteps that each round evaluates."
    )
    to_keep: list[Count] = Field(
        min_length=1,
        max_length=32,
        description="Number of hypotheses kept after each round. The numbers decrease, and the last is 1.",
    )


class ZeroShotOptions(Options):
    """Options of zero-shot classification."""

    labels: Annotated[list[Label], CommaSeparated()] = Field(
        min_length=1,
        description="The labels to choose from, without repetition. A single label always has probability 1.",
    )
    templates: Templates | None = Field(
        default=None,
        description="Prompt templates, in which {} stands for the label. Each label in each template is a "
        "hypothesis; the label of the best hypothesis wins. Unset: the server's templates, by default `a photo "
        "of a {}.`.",
    )
    scheme: Scheme | None = Field(
        default=None,
        description="`schedule` drops labels in fixed rounds, as the paper does, and gives no confidence. "
        "`race` drops a label as soon as a paired test shows that it is worse, and spends more rows only on "
        "close labels. Unset: `race` if `confidence`, `budget`, `indifference` or `combine` is set, else "
        "`schedule`.",
    )
    confidence: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Race: approximate probability that the answer is the one that evaluating all labels "
        "at all timesteps would give. Unset: 0.95. 1 evaluates them all.",
    )
    budget: BudgetChoice | None = Field(
        default=None,
        description="Race: stop when this is spent: a number of U-Net rows, or a time such as `250 ms` or "
        "`2 s`. The answer is then the leading label, with the confidence reached so far. With a time, the "
        "answer depends on how busy the server is.",
    )
    indifference: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Race: difference of mean errors below which labels count as equally good (tied). The "
        "race ends when all labels left are tied.",
    )
    combine: Literal["mean", "best_prompt"] | None = Field(
        default=None,
        description="Race with several templates: `mean` compares labels by the mean error over their "
        "prompts; `best_prompt` compares single prompts, as the schedule does. Unset: `mean`.",
    )
    schedule: Literal["default", "published"] | RoundsRequest | None = Field(
        default=None,
        description="Schedule: `published` is the paper's. `default` spends a tenth to two fifths of its "
        "rows. An object is a schedule of your own. Unset: `default`.",
    )
    loss: Loss = Field(
        default="l2",
        description="How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or "
        "Huber error (`huber`).",
    )
    temperature: Temperature | None = Field(
        default=None,
        description="Temperature that the posterior's logits are divided by. Unset: the temperature that "
        "was fitted to labelled images with these options if the server has one, else the server's default "
        "temperature.",
    )
    trials: int = Field(default=1, ge=1, le=64, description="Schedule: number of noise samples for each timestep.")


class ScheduleAnswer(BaseModel):
    """The rounds of a schedule."""

    n_samples: list[int]
    to_keep: list[int]


class ZeroShotResult(PosteriorAnswer):
    """The posterior over the labels, most likely first, and how it was computed."""

    scheme: Scheme
    schedule: ScheduleAnswer | None = Field(description="The rounds of the schedule; null with a race.")
    templates: list[str]
    notes: list[str] = Field(default=[], description="Remarks about the labels of the request.")


def note_labels(labels: Sequence[str]) -> list[str]:
    """Remarks about the labels: a single label is always certain."""
    if len(labels) != 1:
        return []
    several = "; for several repeat the field (labels=cat&labels=dog) or send a JSON list" if "," in labels[0] else ""
    return [f"{labels[0]!r} is one label, and one label alone is certain whatever the image shows{several}"]


async def run_zero_shot(
    engine: Engine,
    model: ZeroShotModel,
    inputs: Inputs,
    options: ZeroShotOptions,
    on_progress: Callable[[Posterior], None] | None = None,
) -> Posterior:
    """The posterior over the labels, by the scheme that the options name; `on_progress` is called with intermediate
    posteriors.
    """
    temperature, calibrated = model.choose_temperature(describe_method(options), options.temperature)
    common: dict[str, Any] = {
        "templates": options.templates or model.templates,
        "loss": options.loss,
        "temperature": temperature,
        "calibrated": calibrated,
        "on_progress": on_progress,
    }
    if choose_scheme(options) == "schedule":
        schedule = choose_schedule(options, model)
        return await classify(engine, inputs.image, options.labels, schedule=schedule, trials=options.trials, **common)
    return await classify_anytime(
        engine,
        inputs.image,
        options.labels,
        confidence=DEFAULT_CONFIDENCE if options.confidence is None else options.confidence,
        budget=model.limit_budget(options.budget),
        indifference=options.indifference or 0.0,
        combine=options.combine or "mean",
        **common,
    )


def choose_scheme(options: ZeroShotOptions) -> Scheme:
    """The scheme, by name or by an option that only one has. Raises InvalidInput for options of both."""
    racing = [
        name for name in ("confidence", "budget", "indifference", "combine") if getattr(options, name) is not None
    ]
    scheduled = [name for name, used in (("schedule", options.schedule), ("trials", options.trials > 1)) if used]
    scheme = options.scheme or ("race" if racing else "schedule")
    for name in scheduled if scheme == "race" else racing:
        other = "schedule" if scheme == "race" else "race"
        raise InvalidInput(
            name, f"it needs scheme={other}, and the scheme is {scheme}", hint="leave out one of the two"
        )
    return scheme


def describe_method(options: ZeroShotOptions) -> ScoringMethod | None:
    """The scoring method of the options, for which a temperature may be fitted; None for options without fitted
    temperatures.
    """
    if options.indifference or options.trials > 1 or isinstance(options.schedule, RoundsRequest):
        return None
    if choose_scheme(options) == "schedule":
        return ScoringMethod(scheme="schedule", loss=options.loss, schedule=options.schedule or "default")
    confidence = DEFAULT_CONFIDENCE if options.confidence is None else options.confidence
    return ScoringMethod(scheme="race", loss=options.loss, confidence=confidence, combine=options.combine or "mean")


def choose_schedule(options: ZeroShotOptions, model: ZeroShotModel) -> Schedule:
    """The schedule to run. Raises InvalidInput for one that cannot end."""
    hypotheses = len(options.labels) * len(options.templates or model.templates)
    if isinstance(options.schedule, RoundsRequest):
        schedule = Schedule(tuple(options.schedule.n_samples), tuple(options.schedule.to_keep))
    else:
        choose = published_schedule if options.schedule == "published" else default_schedule
        schedule = choose(hypotheses)
    check_schedule(schedule, hypotheses, len(model.backbone.alphas_cumprod))
    return schedule


def complete_zero_shot(
    options: ZeroShotOptions, model: ZeroShotModel, counts: InputCounts, limits: Limits
) -> ZeroShotOptions:
    """The options with the model's templates and temperature. Raises InvalidInput for options that cannot run."""
    templates = options.templates or list(model.templates)
    check_label_counts(options.labels, templates, limits)
    temperature, _ = model.choose_temperature(describe_method(options), options.temperature)
    complete = options.model_copy(update={"templates": templates, "temperature": temperature})
    if choose_scheme(complete) == "race":
        model.limit_budget(complete.budget)
        return complete
    hint = "send fewer labels, templates or trials, or schedule=default"
    check_rows(zero_shot_rows(complete, model), limits, "schedule", "needs", hint)
    return complete


def zero_shot_rows(options: ZeroShotOptions, model: ZeroShotModel) -> int:
    """U-Net rows of the schedule; for a race, the maximum by its budget."""
    if choose_scheme(options) == "race":
        return model.limit_budget(options.budget).rows or 0
    schedule = choose_schedule(options, model)
    survivors = (len(options.labels) * len(options.templates or model.templates), *schedule.to_keep)
    steps = new_timesteps(schedule, len(model.backbone.alphas_cumprod))
    return options.trials * sum(kept * len(added) for kept, added in zip(survivors, steps, strict=False))


def least_zero_shot_rows(options: ZeroShotOptions, model: ZeroShotModel) -> int:
    """U-Net rows of the default schedule, which runs to its end.

    0 for a race, which may end at any time, and for rounds of the request's own.
    """
    own = options.schedule not in (None, "default")
    return 0 if own or choose_scheme(options) == "race" else zero_shot_rows(options, model)


def answer_zero_shot(posterior: Posterior, model: ZeroShotModel, options: ZeroShotOptions) -> ZeroShotResult:
    """The posterior with the rounds and templates that led to it."""
    scheme = choose_scheme(options)
    rounds = None
    if scheme == "schedule":
        schedule = choose_schedule(options, model)
        rounds = ScheduleAnswer(n_samples=list(schedule.n_samples), to_keep=list(schedule.to_keep))
    templates = list(options.templates or model.templates)
    notes = note_labels(options.labels)
    fields = posterior_fields(posterior)
    return ZeroShotResult(**fields, scheme=scheme, schedule=rounds, templates=templates, notes=notes)


def zero_shot_item(posterior: Posterior, model: ZeroShotModel, options: ZeroShotOptions) -> dict[str, Any]:
    """A job's posterior of one image."""
    notes = note_labels(options.labels)
    return PosteriorAnswer(**posterior_fields(posterior)).model_dump(mode="json") | ({"notes": notes} if notes else {})


def zero_shot_line(posterior: Posterior) -> str:
    """The labels with their probabilities, for people."""
    ranked = sorted(zip(posterior.labels, posterior.probabilities, strict=True), key=lambda pair: -pair[1])
    others = ", ".join(f"{label} {probability:.1%}" for label, probability in ranked if label != posterior.label)
    best = dict(zip(posterior.labels, posterior.probabilities, strict=True))[posterior.label]
    return f"{posterior.label} {best:.1%} ({posterior.rows} rows)" + (f"; {others}" if others else "")


def describe_zero_shot(model: ZeroShotModel) -> dict[str, Any]:
    """The templates and temperature of a request that gives none."""
    temperature, calibrated = model.choose_temperature(ScoringMethod(scheme="schedule", schedule="default"), None)
    return {
        "templates": list(model.templates),
        "schedule": "default",
        "temperature": temperature,
        "calibrated": calibrated,
    }


TASK = Task(
    name="zero-shot",
    summary="Classify an image by labels of your own",
    source="Diffusion Classifier (arXiv:2303.16203)",
    inputs="image_texts",
    options=ZeroShotOptions,
    answer=ZeroShotResult,
    open=open_zero_shot,
    run=run_zero_shot,
    to_answer=answer_zero_shot,
    to_text=zero_shot_line,
    to_item=zero_shot_item,
    to_progress=answer_progress,
    group="classify",
    exports=frozenset({"label-studio", "cvat"}),
    complete=complete_zero_shot,
    estimate_rows=zero_shot_rows,
    least_rows=least_zero_shot_rows,
    describe=describe_zero_shot,
    example={"labels": ["a zero", "a one"], "loss": "l2"},
    curl="-F image=@cat.jpg -F labels=cat -F labels=dog",
)
