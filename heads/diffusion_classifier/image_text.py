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
    """The captions to match the images with."""

    captions: list[Caption] = Field(min_length=1, max_length=1000, description="Sentences to compare.")
    interval: int = Field(
        default=20, ge=1, le=1000, description="Between the timesteps visited; 1 visits all 1,000, as published."
    )
    loss: Loss = Field(default="l2", description="How the error of the predicted noise is measured.")


class WinogroundAnswer(BaseModel):
    """The three scores of one example, the first caption belonging to the first image. A tie is wrong."""

    text: bool = Field(description="Each image prefers its own caption.")
    image: bool = Field(description="Each caption prefers its own image, by the plain scores of the protocol.")
    group: bool


class MatchResult(BaseModel):
    """Scores of captions (outer lists) with images (inner ones); higher fits better."""

    scores: list[list[float]] = Field(description="Minus the mean error; comparable within an image only.")
    corrected_scores: list[list[float]] = Field(description="Less the empty prompt's; comparable between images too.")
    best_caption: list[int] = Field(description="For each image, the caption with the highest score.")
    best_image: list[int] = Field(description="For each caption, the image with the highest corrected score.")
    winoground: WinogroundAnswer | None = Field(description="With two captions and two images; else null.")
    timesteps: int


def open_match(backbone: Backbone, weights: object = None, **options: Any) -> ZeroShotModel:
    """The backbone as a judge of captions. Raises ModelNotFound for a network with classes instead of text."""
    if backbone.description.class_conditional:
        message = f"the network {backbone.description.name!r} takes classes, not captions"
        raise ModelNotFound(message, hint="serve a Stable Diffusion")
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
    """The scores, plain and less the empty prompt's, and who fits whom best."""
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
    summary="Tell which caption fits which image",
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
