"""`diffsight fit pose`: a heat-map head for your own keypoints, on frozen features or with the U-Net fine-tuned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from backbones.stable_diffusion import StableDiffusion
from diffsight.cli.local import open_engine, step_bar
from diffsight.cli.options import AsJson, with_settings
from heads.sdpose.checkpoint import check_folder_for_fitted, save_fitted
from heads.sdpose.estimation import PoseModel
from service.settings.loader import Settings
from training.pose import PoseRecipe, default_size, fit_pose, mean_pose, mean_pose_points
from training.pose_data import PoseData, read_pose_data
from training.pose_evaluation import evaluate_predictions, measure_pck, predict_persons

Annotations = Annotated[Path, typer.Argument(help="COCO keypoint file.", metavar="ANNOTATIONS", show_default=False)]
ImagesFolder = Annotated[
    Path, typer.Option("--images", help="Folder of the images that the file names.", metavar="FOLDER")
]
HeldOut = Annotated[
    Path | None, typer.Option(help="COCO keypoint file to measure the head on after training.", metavar="ANNOTATIONS")
]
HeldOutImages = Annotated[
    Path | None, typer.Option(help="Folder of the held-out images. Default: the folder of --images.", metavar="FOLDER")
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        help="Module whose output the head reads. Repeat the option for several. Default: the decoder's "
        "last two blocks."
    ),
]
Parts = Annotated[
    list[str] | None,
    typer.Option(
        help="Train only U-Net parameters whose name contains this text. Repeat the option for several. Default: all."
    ),
]
UNetLearningRate = Annotated[
    float,
    typer.Option(
        help="Learning rate of the U-Net; SDPose uses 3e-5. Above 0 the U-Net is fine-tuned too, "
        "with in-painting as a second task.",
        min=0,
    ),
]


@with_settings(without=("dtype",), in_full=True)
def pose(
    *,
    annotations: Annotations,
    images: ImagesFolder,
    out: Annotated[Path, typer.Option(help="Folder to write the head to.", metavar="FOLDER")],
    held_out: HeldOut = None,
    held_out_images: HeldOutImages = None,
    steps: Annotated[int, typer.Option(help="Steps of the optimiser.", min=1)] = 2000,
    batch: Annotated[int, typer.Option(help="Persons in each step.", min=1)] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.", min=1e-8)] = 5e-4,
    feature: Features = None,
    timestep: Annotated[int, typer.Option(help="Timestep at which the network gets the clean latents.", min=0)] = 50,
    width: Annotated[
        int | None, typer.Option(help="Width of crops in pixels. Default: three quarters of the height.", min=16)
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Height of crops in pixels. Default: the backbone's image size.", min=16)
    ] = None,
    unet_learning_rate: UNetLearningRate = 0.0,
    part: Parts = None,
    half: Annotated[bool, typer.Option("--half", help="Write weights as float16.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit pose train.json --images train --out mypose --held-out val.json --held-out-images val

    Fit a keypoint head to any data set in COCO's keypoint layout: persons, animals or things, with any named points.
    The backbone does not change; --unet-learning-rate fine-tunes a copy of its U-Net as well. Serve it with
    DIFFSIGHT_POSE__CHECKPOINT=mypose.
    """
    check_folder_for_fitted(out)
    data = read_pose_data(annotations, images)
    held_out_data = None if held_out is None else read_held_out(held_out, held_out_images or images, data)
    engine = open_engine(settings)
    size = default_size(engine.backbone)
    recipe = PoseRecipe(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        features=tuple(feature or ()),
        timestep=timestep,
        size=(width or size[0], height or size[1]),
        unet_learning_rate=unet_learning_rate,
        parts=tuple(part or ()),
        seed=seed,
    )
    facts = fit_and_save(engine, data, recipe, held_out_data, out, half=half)
    if as_json:
        typer.echo(json.dumps({"out": str(out), **facts}))
    else:
        print_figures(facts.get("held_out", {}))
        typer.echo(f"wrote {out}: serve it with DIFFSIGHT_POSE__CHECKPOINT={out}")


def read_held_out(annotations: Path, images: Path, data: PoseData) -> PoseData:
    """The data set to measure on. Raises InvalidInput if its keypoints are not those of the training data."""
    held_out = read_pose_data(annotations, images)
    if held_out.skeleton.names != data.skeleton.names:
        raise InvalidInput(
            "--held-out", "its keypoints are not those of the training data", hint="give a file with the same keypoints"
        )
    return held_out


def print_figures(figures: Mapping[str, float]) -> None:
    """Print a line for each figure."""
    for name, value in figures.items():
        typer.echo(f"{name}: {value:.4f}")


def fit_and_save(
    engine: DirectEngine, data: PoseData, recipe: PoseRecipe, held_out: PoseData | None, out: Path, *, half: bool
) -> dict[str, Any]:
    """Fit a head, show a progress bar, and write the head. Returns the facts that its file keeps, JSON values."""
    typer.echo(f"{len(data.persons)} persons, {len(data.skeleton)} keypoints, crops {recipe.size}", err=True)
    losses: list[float] = []
    with step_bar("steps", recipe.steps) as advance:

        def keep_loss(step: int, loss: float) -> None:
            losses.append(loss)
            advance()

        model = fit_pose(engine, data, recipe, keep_loss)
    facts: dict[str, Any] = {
        "persons": len(data.persons),
        "steps": recipe.steps,
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "unet_learning_rate": recipe.unet_learning_rate,
        "parts": list(recipe.parts),
        "seed": recipe.seed,
        "mean_pose": mean_pose(data).round(5).tolist(),
        "loss": sum(losses[-50:]) / len(losses[-50:]),
    }
    if held_out is not None:
        facts["held_out"] = _measure(engine, model, data, held_out)
    assert isinstance(engine.model, StableDiffusion)
    save_fitted(out, model, engine.model, facts, half=half)
    return facts


def _measure(engine: DirectEngine, model: PoseModel, data: PoseData, held_out: PoseData) -> dict[str, float]:
    """PCK and AP on the held-out persons, and the PCK of the training data's mean pose."""
    predictions = predict_persons(engine, model, held_out, held_out.persons)
    figures, _ = evaluate_predictions(held_out, predictions)
    baseline = mean_pose_points(mean_pose(data), held_out.persons)
    baseline_points = {person.id: points for person, points in zip(held_out.persons, baseline, strict=True)}
    return {
        "pck_0_1": measure_pck(held_out, {prediction.id: prediction.points for prediction in predictions})["all"],
        "mean_pose_pck_0_1": measure_pck(held_out, baseline_points)["all"],
        "ap": next(reversed(figures.values()))["AP"],
        "persons": float(len(held_out.persons)),
    }
