"""`diffsight predict label-tree`: the way down a tree of labels, without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.predict import Images, open_engine, progress, read_image
from service.settings.loader import load_settings

if TYPE_CHECKING:
    from heads.results import LabelPath


def label_tree(
    images: Images,
    tree: Annotated[Path, typer.Option(help="JSON file of nested labels.", metavar="FILE")],
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with {} for the label; may be repeated.", metavar="TEXT")
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure to be of the whole way, up to 1.", min=0, max=1)] = 0.95,
    budget: Annotated[
        str | None, typer.Option(help="U-Net rows or time an image: 500, '250 ms', '2 s'.", metavar="BUDGET")
    ] = None,
    combine: Annotated[
        Literal["mean", "best_prompt"], typer.Option(help="How a label's templates are put together.")
    ] = "mean",
    loss: Annotated[Literal["l2", "l1", "huber"], typer.Option(help="How the noise error is measured.")] = "l2",
    temperature: Annotated[float | None, typer.Option(help="What the logits are divided by.", min=1e-6)] = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    echo '{"animal": ["cat", "dog"], "vehicle": {"boat": ["ferry", "yacht"]}}' > labels.json
    diffsight predict label-tree photo.jpg --tree labels.json

    From the top of the tree down, each time to the label that wins a race among its siblings. An image that can not be
    read is told on standard error, the others are still answered, and the exit status is 2.
    """
    settings = load_settings(config, backbone=backbone, device=device, dtype=dtype)
    nested = read_json(tree)

    from heads.diffusion_classifier.anytime import parse_budget
    from service.api.label_tree import path_fields, read_tree
    from service.models.loading import default_templates

    templates = template or default_templates(settings)
    root = read_tree(nested, len(templates), settings.limits)
    limit = None if budget is None else parse_budget(budget)
    engine = open_engine(settings, classes=True)

    from backbones.engine import complete
    from heads.diffusion_classifier.label_tree import classify_tree

    failed = 0
    found: list[tuple[str, LabelPath]] = []
    for path in progress(images):
        try:
            picture = read_image(path, settings)
        except InvalidInput as error:
            typer.echo(f"diffsight: {path}: {error}", err=True)
            failed += 1
            continue
        way = complete(
            classify_tree(
                engine,
                picture.array,
                root,
                templates=templates,
                combine=combine,
                confidence=confidence,
                budget=limit,
                loss=loss,
                temperature=temperature or settings.zero_shot_temperature,
            )
        )
        found.append((str(path), way))
        if as_json:
            told = {**path_fields(way), "levels": [one.model_dump() for one in path_fields(way)["levels"]]}
            typer.echo(json.dumps({"image": str(path), **told, "stopped": way.stopped}, ensure_ascii=False))
    if found and not as_json:
        print_ways(found)
    if failed:
        raise typer.Exit(2)


def read_json(file: Path) -> object:
    """The value in a JSON file. Raises InvalidInput where there is none."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise InvalidInput("--tree", f"{file} can not be read: {error.strerror}", hint="check its path") from error
    except (ValueError, RecursionError) as error:
        hint = 'such as {"animal": ["cat", "dog"], "vehicle": ["car"]}'
        raise InvalidInput("--tree", f"{file} is no JSON: {error}", hint=hint) from error


def print_ways(found: Sequence[tuple[str, LabelPath]]) -> None:
    """A table with each image's way; one that the budget ended above a leaf ends in dots."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("image", "path", "probability", "confidence", "rows"):
        table.add_column(name, justify="left" if name in ("image", "path") else "right", overflow="fold")
    for image, way in found:
        told = " > ".join(way.path) + ("" if way.complete else " > ...")
        table.add_row(image, told, f"{way.probability:.1%}", f"{way.confidence:.1%}", str(way.rows))
    Console(highlight=False, markup=False).print(table)
