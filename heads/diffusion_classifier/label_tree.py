"""The task `label-tree`: the path down a tree of thousands of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, Field

from backbones.engine import Engine
from heads.diffusion_classifier import tree_descent
from heads.diffusion_classifier.answers import PosteriorAnswer, posterior_fields
from heads.diffusion_classifier.model import BudgetChoice, Loss, Temperature, Templates, ZeroShotModel, open_zero_shot
from heads.diffusion_classifier.tree_descent import classify_tree, parse_tree
from heads.inputs import InputCounts, Inputs
from heads.results import LabelPath
from heads.task import Limits, Options, Task


class LabelTreeOptions(Options):
    """Options of classification by a tree of labels."""

    tree: dict[str, Any] | list[Any] = Field(
        description='The tree of labels, such as `{"animal": ["cat", "dog"], "vehicle": {"boat": '
        '["ferry"]}}`. Keys and texts are labels. A list may hold texts and objects.'
    )
    templates: Templates | None = Field(
        default=None,
        description="Prompt templates, in which {} stands for the label. Unset: the server's templates.",
    )
    confidence: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Approximate probability that the answer is the path that evaluating all siblings at "
        "all timesteps would give. The levels share the error probability.",
    )
    budget: BudgetChoice | None = Field(
        default=None,
        description="Budget for all levels together: a number of U-Net rows, or a time such as `250 ms`. "
        "When it is spent, the path ends, even above a leaf; see `complete`.",
    )
    combine: Literal["mean", "best_prompt"] = Field(
        default="mean",
        description="With several templates: `mean` compares labels by the mean error over their prompts, "
        "`best_prompt` compares single prompts.",
    )
    loss: Loss = Field(
        default="l2",
        description="How the error of the predicted noise is measured: squared (`l2`), absolute (`l1`) or "
        "Huber error (`huber`).",
    )
    temperature: Temperature | None = Field(
        default=None, description="Temperature that logits are divided by. Unset: the server's temperature."
    )


class LevelAnswer(PosteriorAnswer):
    """The race among the labels of one level."""

    under: list[str] = Field(description="The path of labels above this level.")


class PathAnswer(BaseModel):
    """The path so far."""

    label: str = Field(description="The last label of the path.")
    path: list[str] = Field(description="Labels from the top of the tree downwards.")
    complete: bool = Field(description="Whether the path ends at a leaf. False if the budget was spent before.")
    probability: float = Field(
        description="Product of the probabilities of the labels on the path. It is not calibrated."
    )
    confidence: float = Field(
        description="Approximate probability that evaluating all siblings at all timesteps would give the same path."
    )
    rows: int = Field(description="Number of U-Net rows computed.")
    levels: list[LevelAnswer] = Field(
        description="The race of each level, from the top downwards. A label without siblings needs no race."
    )


class LabelTreeResult(PathAnswer):
    """The path through the tree, and how it was determined."""

    stopped: Literal["decided", "budget"]
    templates: list[str]


async def run_label_tree(
    engine: Engine,
    model: ZeroShotModel,
    inputs: Inputs,
    options: LabelTreeOptions,
    on_progress: Callable[[LabelPath], None] | None = None,
) -> LabelPath:
    """From the top of the tree down, each time to the label that wins a race among its siblings."""
    return await classify_tree(
        engine,
        inputs.image,
        parse_tree(options.tree),
        templates=options.templates or model.templates,
        combine=options.combine,
        confidence=options.confidence,
        budget=model.limit_budget(options.budget),
        loss=options.loss,
        temperature=options.temperature or model.temperature,
        on_progress=on_progress,
    )


def complete_label_tree(
    options: LabelTreeOptions, model: ZeroShotModel, counts: InputCounts, limits: Limits
) -> LabelTreeOptions:
    """The options with the model's templates and temperature.

    Raises InvalidInput, with the place of what is wrong, for a tree that cannot be used or is beyond the limits.
    """
    templates = options.templates or list(model.templates)
    read_tree(options.tree, len(templates), limits)
    model.limit_budget(options.budget)
    return options.model_copy(update={"templates": templates, "temperature": options.temperature or model.temperature})


def read_tree(tree: object, templates: int, limits: Limits) -> tree_descent.Label:
    """The root of a tree within the limits of one request. Raises InvalidInput with the place of what is wrong."""
    most = max(1, min(limits.max_labels, limits.max_prompts // templates))
    return parse_tree(tree, most_labels=limits.max_tree_labels, most_children=most)


def path_fields(path: LabelPath) -> dict[str, Any]:
    """The fields of a `PathAnswer`."""
    return {
        "label": path.path[-1],
        "path": list(path.path),
        "complete": path.complete,
        "probability": path.probability,
        "confidence": path.confidence,
        "rows": path.rows,
        "levels": [LevelAnswer(**posterior_fields(level.posterior), under=list(level.under)) for level in path.levels],
    }


def answer_label_tree(path: LabelPath, model: ZeroShotModel, options: LabelTreeOptions) -> LabelTreeResult:
    """The path with its races."""
    templates = list(options.templates or model.templates)
    return LabelTreeResult(**path_fields(path), stopped=path.stopped, templates=templates)


def progress_label_tree(path: LabelPath, model: ZeroShotModel, options: LabelTreeOptions) -> PathAnswer:
    """The path so far."""
    return PathAnswer(**path_fields(path))


def label_tree_line(path: LabelPath) -> str:
    """The path, for people; if the budget ended it above a leaf, it ends in dots."""
    labels = " > ".join(path.path) + ("" if path.complete else " > ...")
    return f"{labels}  {path.probability:.1%}, confidence {path.confidence:.1%} ({path.rows} rows)"


def describe_label_tree(model: ZeroShotModel) -> dict[str, Any]:
    """The templates and temperature of a request that gives none."""
    return {"templates": list(model.templates), "temperature": model.temperature}


TASK = Task(
    name="label-tree",
    summary="Classify an image by a tree of labels",
    source="Diffusion Classifier (arXiv:2303.16203)",
    inputs="image_texts",
    options=LabelTreeOptions,
    answer=LabelTreeResult,
    open=open_zero_shot,
    run=run_label_tree,
    to_answer=answer_label_tree,
    to_text=label_tree_line,
    to_progress=progress_label_tree,
    group="classify",
    complete=complete_label_tree,
    describe=describe_label_tree,
    example={"tree": {"number": ["zero", "one"], "letter": ["a", "b"]}},
    curl="""-F image=@cat.jpg -F 'tree={"animal": ["cat", "dog"], "vehicle": ["car", "boat"]}'""",
)
