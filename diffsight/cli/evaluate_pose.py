"""`diffsight evaluate pose`: COCO AP of keypoints on a local data set, in one number type or several side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from diffsight.cli.fit_pose import Annotations, ImagesFolder
from diffsight.cli.local import open_engine, open_head, print_table, step_bar, write_out
from diffsight.cli.options import AsJson, Backbone, Config, Device
from heads.sdpose.metrics import Prediction
from heads.sdpose.persons import Person
from heads.sdpose.pose import TASK, PoseHead
from service.settings.loader import load_settings
from training.pose_data import PoseData, read_detections, read_pose_data
from training.pose_evaluation import detect_persons, evaluate_predictions, measure_pck, point_errors, predict_persons

Checkpoint = Annotated[
    str | None,
    typer.Option(help="Folder of SDPose, a name of `diffsight models list`, or what `diffsight fit pose` wrote."),
]
Detections = Annotated[
    Path | None, typer.Option(help="COCO detection file. Persons are evaluated in its boxes.", metavar="FILE")
]
Results = Annotated[
    Path | None,
    typer.Option(help="Write the results to this file, in COCO's format.", metavar="FILE", show_default=False),
]
DTypes = Annotated[
    list[str] | None,
    typer.Option(
        help="float32, bfloat16 or float16. Repeat the option to compare: each type gets a column "
        "with its difference from the first.",
        metavar="NAME",
    ),
]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="Object-detection model of transformers, or an .onnx file.")
]


def pose(
    annotations: Annotations,
    images: ImagesFolder,
    checkpoint: Checkpoint = None,
    detections: Detections = None,
    detector: DetectorName = None,
    crop: Annotated[
        Literal["affine", "stretch"], typer.Option(help="Crop of the published evaluation, or of the published demo.")
    ] = "affine",
    flip_test: Annotated[
        bool,
        typer.Option("--flip-test/--no-flip-test", help="Also run mirrored persons, as for the published figures."),
    ] = True,
    most: Annotated[int | None, typer.Option(help="Maximum number of images; the first are used.", min=1)] = None,
    results: Results = None,
    dtype: DTypes = None,
    backbone: Backbone = None,
    device: Device = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate pose person_keypoints_val2017.json --images val2017 --detections boxes.json
    diffsight evaluate pose val.json --images val --dtype float32 --dtype bfloat16 --dtype float16

    Measure COCO AP of keypoints by the protocol of SDPose's published figures. Boxes come from the annotations, a file
    of detections or a detector. With annotated boxes, also print the share of points whose error is within a tenth of
    the box.
    """
    if detections is not None and detector is not None:
        raise InvalidInput("--detector", "it cannot be combined with --detections", hint="give only one of them")
    data = read_pose_data(annotations, images)
    image_ids = [int(image["id"]) for image in data.content["images"]][:most]
    columns: dict[str, dict[str, float]] = {}
    first: list[Prediction] | None = None
    names: list[str | None] = [*dtype] if dtype else [None]
    for name in names:
        settings = load_settings(config, backbone=backbone, device=device, dtype=name)
        if detector is not None:
            settings = settings.model_copy(update={"pose": settings.pose.model_copy(update={"detector": detector})})
        engine = open_engine(settings, tasks=[TASK.name])
        head = open_head(settings, engine, TASK, checkpoint)
        persons = _persons(engine, head, data, detections, settings.pose.detector_threshold if detector else None)
        chosen = [person for person in persons if person.image_id in set(image_ids)]
        with step_bar("images", len({person.image_id for person in chosen})) as advance:
            predictions = predict_persons(
                engine, head.model, data, chosen, crop=crop, flip_test=flip_test, on_image=advance
            )
        column, rows = _measure(data, predictions, image_ids, annotated=detections is None and detector is None)
        if first is not None:
            column |= {f"px moved, {key}": value for key, value in point_errors(predictions, first).items()}
        first = first or predictions
        columns[name or str(engine.backbone.dtype).removeprefix("torch.")] = column
        if results is not None and len(columns) == 1:
            write_out(results, json.dumps(rows).encode(), "--results", "name another")
    if as_json:
        typer.echo(json.dumps(columns))
    else:
        print_columns(f"{len(image_ids)} images, {len(data.skeleton)} keypoints", columns)


def print_columns(title: str, columns: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table with a row for each figure and a column for each number type."""
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    rows = [(key, *(f"{column[key]:.4f}" if key in column else "" for column in columns.values())) for key in keys]
    print_table((title, *columns), rows)


def _persons(
    engine: DirectEngine, head: PoseHead, data: PoseData, detections: Path | None, threshold: float | None
) -> Sequence[Person]:
    """Boxes of a file of detections, of the detector above the threshold, or else the annotated ones.

    Raises InvalidInput if the data set's keypoints are not the network's.
    """
    skeleton = head.model.skeleton
    if skeleton.names != data.skeleton.names:
        raise InvalidInput(
            "annotations",
            f"its {len(data.skeleton)} keypoints are not the network's {len(skeleton)}",
            hint="give annotations of the same points",
        )
    if detections is not None:
        return read_detections(detections)
    if threshold is None:
        return data.persons
    assert head.finder is not None  # a named detector opens or raises
    return detect_persons(engine, head.finder.find, data, threshold)


def _measure(
    data: PoseData, predictions: list[Prediction], image_ids: list[int], *, annotated: bool
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The figures by name, and the rows of COCO's result file. annotated: whether the boxes are the data set's own."""
    figures, rows = evaluate_predictions(data, predictions, image_ids)
    column = {
        key if part == "keypoints" else f"{part} {key}": value
        for part, ten in figures.items()
        for key, value in ten.items()
    }
    if annotated:
        column["PCK 0.1"] = measure_pck(data, {person.id: person.points for person in predictions})["all"]
    return column, rows
