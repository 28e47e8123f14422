"""`diffsight fit classifier`: what POST /v1/classifiers does, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from backbones.engine import complete
from diffsight.cli.labelled_folder import examples_of, list_labelled_files, read_blocks
from diffsight.cli.local import open_engine, print_table, write_out
from diffsight.cli.options import AsJson, LabelledFolder, check_out, with_settings
from diffsight.pictures import confusion
from service.library.classifiers import (
    About,
    FeatureOptions,
    as_tensors,
    build_head_options,
    fit_classifier,
    join_examples,
)
from service.library.store import pack
from service.settings.loader import Settings

Blocks = Annotated[
    list[str] | None,
    typer.Option(
        help="Block of the network: a number from 1, or a diffusers name. Repeat the option for several.",
        metavar="BLOCK",
    ),
]
Timesteps = Annotated[
    list[int] | None, typer.Option(help="Timestep of the noise schedule. Repeat the option for several. Default: 100.")
]
Head = Annotated[
    Literal["logistic", "linear", "mlp", "attention", "fusion"],
    typer.Option(help="Kind of classifier: logistic, or a head of the published code, which needs many images."),
]
Hidden = Annotated[
    list[int] | None, typer.Option(help="mlp: width of a hidden layer. Repeat the option for several layers.")
]
Fit = Annotated[
    Literal["crop", "pad", "squash"],
    typer.Option("--fit", help="How an image is made square: crop the longer side, pad the shorter side, or squash."),
]
ConfusionPicture = Annotated[
    Path | None,
    typer.Option(help="Write a picture of the confusion matrix to this file.", metavar="PNG", show_default=False),
]


@with_settings()
def classifier(
    *,
    folder: LabelledFolder,
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.", metavar="FILE")],
    name: Annotated[str, typer.Option(help="Name of the classifier. Default: the folder's name.")] = "",
    block: Blocks = None,
    timestep: Timesteps = None,
    pool_size: Annotated[int, typer.Option(help="Side of the grid that feature maps are averaged over.")] = 1,
    noise_samples: Annotated[int, typer.Option(help="Number of noise samples to average over; 0 adds no noise.")] = 1,
    crop: Fit = "crop",
    head: Head = "logistic",
    hidden: Hidden = None,
    width: Annotated[int, typer.Option(help="attention, fusion: width of a token.", min=1, max=4096)] = 1024,
    attention_heads: Annotated[
        int, typer.Option(help="attention, fusion: number of attention heads.", min=1, max=64)
    ] = 8,
    depth: Annotated[int, typer.Option(help="attention, fusion: number of transformer blocks.", min=1, max=16)] = 2,
    epochs: Annotated[int, typer.Option(help="All but logistic: passes over the images.", min=1, max=1000)] = 28,
    confusion: ConfusionPicture = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight fit classifier pets --out pets.safetensors --confusion confusion.png
    diffsight predict classifier new.jpg --classifier pets.safetensors

    Fit a classifier to FOLDER/cat/1.jpg, FOLDER/dog/2.jpg, ... The printed figures come from cross-validation. To use
    the classifier on a server, send the file to POST /v1/classifiers/import.
    """
    files = list_labelled_files(folder)
    check_out(out)
    engine = open_engine(settings)
    options = FeatureOptions(
        blocks=read_blocks(block, engine.backbone.sub_blocks),
        timesteps=tuple(timestep or (100,)),
        pool_size=pool_size,
        noise_samples=noise_samples,
        fit=crop,
    )
    sizes = {"hidden": tuple(hidden or (2048,)), "width": width, "attention_heads": attention_heads, "depth": depth}
    released = complete(build_head_options(engine, head, {**sizes, "epochs": epochs}, options))
    examples, duplicates = join_examples(None, examples_of(engine, files, options, settings))
    name = name or folder.resolve().name
    fitted = fit_classifier(examples, options, engine.backbone, name=name, head=released)
    write_out(out, pack(fitted.about.model_dump(mode="json"), as_tensors(fitted)))
    if confusion is not None:
        draw_confusion(confusion, fitted.about)
    if as_json:
        typer.echo(json.dumps(summary(out, fitted.about, duplicates), ensure_ascii=False))
    else:
        print_classes(fitted.about)
        again = f"{duplicates} images stand there twice and count once\n" if duplicates else ""
        typer.echo(f"{again}wrote {out}")


def summary(out: Path, about: About, duplicates: int) -> dict[str, Any]:
    """The fitted classifier as JSON values."""
    figures = about.model_dump(mode="json", exclude={"version", "created", "changed", "tried"})
    return {"out": str(out), **figures, "duplicates": duplicates}


def print_classes(about: About) -> None:
    """A table of the classes, and the accuracy below."""
    triples = zip(about.classes, about.images, about.recall, strict=True)
    rows = [(label, str(images), "" if recall is None else f"{recall:.1%}") for label, images, recall in triples]
    print_table(("class", "images", "recall"), rows)
    if about.accuracy is None:
        typer.echo("no class has two images, so nothing is known of how well it answers")
    else:
        typer.echo(f"accuracy {about.accuracy:.1%} on {about.validated} images held out in {about.folds} folds")


def draw_confusion(file: Path, about: About) -> None:
    """A picture of the confusion matrix."""
    counts = np.array(about.confusion)
    truth, answers = (np.repeat(places.ravel(), counts.ravel()) for places in np.indices(counts.shape))
    confusion(file, truth, answers, about.classes)
