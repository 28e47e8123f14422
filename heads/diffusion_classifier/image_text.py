"""The task `image-text`: how well each caption fits each image."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from backbones.backbone import Backbone
from backbones.engine import Engine
from backbones.errors import ModelNotFound
from heads.diffusion_classifier.matching import match, matching_rows, verdicts
from heads.diffusion_classifier.model import Loss, ZeroShotModel, open_zero_shot
from heads.inputs import InputCounts, Inputs
from heads.results import Matching
from heads.task import Limits, Options, Task, check_rows

Caption = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class MatchOptions(Options):
    """Options of image-text matching."""

    captions: list[Caption] = Field(min_length=1, max_length=1000, description="Captions to compare with the images.")
    interval: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Step between the timesteps that are evaluated. 1 evaluates all 1,000, as published.",
    )
    loss: Loss = Field(
        default="l2",
        description="How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or "
        "Huber error (`huber`).",
    )


class WinogroundAnswer(BaseModel):
    """The three Winoground scores. They assume that the first caption describes the first image, and the second the
    second. A tie counts as wrong.
    """

    text: bool = Field(description="Text score: each image scores higher with its own caption.")
    image: bool = Field(description="Image score: each caption scores higher with its own image, by `scores`.")
    group: bool


class MatchResult(BaseModel):
    """Scores of each caption (outer list) with each image (inner list). Higher means a better match."""

    scores: list[list[float]] = Field(
        description="Minus the mean error of the predicted noise. Compare scores only within one image."
    )
    corrected_scores: list[list[float]] = Field(
        description="Scores minus those of the empty prompt. They can be compared between images too."
    )
    best_caption: list[int] = Field(description="For each image, the index of the caption with the highest score.")
    best_image: list[int] = Field(
        description="For each caption, the index of the image with the highest corrected score."
    )
    winoground: WinogroundAnswer | None = Field(
        description="Winoground scores, for exactly two captions and two images; else null."
    )
    timesteps: int


def open_match(backbone: Backbone, weights: object = None, **options: Any) -> ZeroShotModel:
    """The backbone for scoring captions. Raises ModelNotFound for a network with classes instead of text."""
    if backbone.description.class_conditional:
        message = f"the network {backbone.description.name!r} takes classes, not captions"
        raise ModelNotFound(message, hint="use a Stable Diffusion backbone")
    return open_zero_shot(backbone, weights, **options)


async def run_match(
    engine: Engine, model: ZeroShotModel, inputs: Inputs, options: MatchOptions, on_progress: object = None
) -> Matching:
    """The Winoground protocol for any number of captions and images."""
    return await match(engine, inputs.arrays, options.captions, interval=options.interval, loss=options.loss)


def complete_match(options: MatchOptions, model: ZeroShotModel, counts: InputCounts, limits: Limits) -> MatchOptions:
    """The options as they are. Raises InvalidInput for more rows than the limits allow."""
    hint = "send a larger interval, or fewer captions or images"
    check_rows(match_rows(options, model) * counts.images, limits, "interval", "needs", hint)
    return options


def match_rows(options: MatchOptions, model: ZeroShotModel) -> int:
    """U-Net rows an image."""
    steps = len(model.backbone.alphas_cumprod)
    return matching_rows(len(options.captions), 1, min(options.interval, steps), steps)


def answer_match(matching: Matching, model: ZeroShotModel, options: MatchOptions) -> MatchResult:
    """The scores, with and without those of the empty prompt subtracted, and the best matches."""
    corrected, right = matching.scores - matching.baselines, verdicts(matching.scores)
    return MatchResult(
        scores=matching.scores.tolist(),
        corrected_scores=corrected.tolist(),
        best_caption=matching.scores.argmax(axis=0).tolist(),
        best_image=corrected.argmax(axis=1).tolist(),
        winoground=None if right is None else WinogroundAnswer(**right),
        timesteps=matching.timesteps,
    )


def match_line(matching: Matching) -> str:
    """The best caption of each image, for people."""
    best = matching.scores.argmax(axis=0).tolist()
    return ", ".join(f"image {place}: caption {caption}" for place, caption in enumerate(best))


def describe_match(model: ZeroShotModel) -> dict[str, Any]:
    """The timesteps that the default interval visits."""
    return {"training_steps": len(model.backbone.alphas_cumprod)}


TASK = Task(
    name="image-text",
    summary="Match captions with images",
    source="Diffusion Classifier (arXiv:2303.16203)",
    inputs="images",
    options=MatchOptions,
    answer=MatchResult,
    open=open_match,
    run=run_match,
    to_answer=answer_match,
    to_text=match_line,
    group="match",
    complete=complete_match,
    estimate_rows=match_rows,
    describe=describe_match,
    example={"captions": ["a one", "a zero"]},
    curl="-F image=@a.jpg -F image=@b.jpg -F captions=one -F captions=two",
)
