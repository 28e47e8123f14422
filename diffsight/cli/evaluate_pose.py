"""`diffsight evaluate pose`: COCO AP of keypoints on a local data set, in one number type or several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from backbones.errors import InvalidInput
from backbones.files import write_file
from diffsight.cli.fit_pose import Annotations, ImagesFolder, step_bar
from diffsight.cli.local import open_engine, open_head
from diffsight.cli.options import AsJson, Backbone, Config, Device
from heads.sdpose.metrics import Prediction
from heads.sdpose.persons import Person
from heads.sdpose.pose import TASK
from service.settings.loader import load_settings
from training.pose_data import PoseData, read_detections, read_pose_data
from training.pose_evaluation import detect_persons, evaluated, point_errors, predict_persons, share_found

Checkpoint = Annotated[
    str | None,
    typer.Option(help="Folder of SDPose, a name of `diffsight models list`, or what `diffsight fit pose` wrote."),
]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="Object-detection model of transformers, or an .onnx file.")
]


def pose(
    annotations: Annotations,
    images: ImagesFolder,
    checkpoint: Checkpoint = None,
    detections: Annotated[
        Path | None, typer.Option(help="COCO detection file whose boxes are looked at.", metavar="FILE")
    ] = None,
    detector: DetectorName = None,
    crop: Annotated[
        Literal["affine", "stretch"], typer.Option(help="The published evaluation's crop, or the demo's.")
    ] = "affine",
    flip_test: Annotated[
        bool, typer.Option("--flip-test/--no-flip-test", help="Look at mirrored persons too, as published figures do.")
    ] = True,
    most: Annotated[int | None, typer.Option(help="Only the first so many images.", min=1)] = None,
    results: Annotated[
        Path | None, typer.Option(help="Write COCO's result file here.", metavar="FILE", show_default=False)
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="float32, bfloat16 or float16. Repeated: one column each, with what moves against the first.",
            metavar="NAME",
        ),
    ] = None,
    backbone: Backbone = None,
    device: Device = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate pose person_keypoints_val2017.json --images val2017 --detections boxes.json
    diffsight evaluate pose val.json --images val --dtype float32 --dtype bfloat16 --dtype float16

    COCO AP of keypoints by the protocol behind SDPose's published figures, from annotated boxes, a file of detections
    or a detector; and the share of points found within a tenth of the box (annotated boxes only).
    """
    if detections is not None and detector is not None:
        raise InvalidInput("--detector", "beside --detections", hint="give one of them")

    data = read_pose_data(annotations, images)
    image_ids = [int(one["id"]) for one in data.content["images"]][:most]
    columns: dict[str, dict[str, float]] = {}
    first: list[Prediction] | None = None
    names: list[str | None] = [*dtype] if dtype else [None]
    for name in names:
        settings = load_settings(config, backbone=backbone, device=device, dtype=name)
        if detector is not None:
            settings = settings.model_copy(update={"pose": settings.pose.model_copy(update={"detector": detector})})
        engine = open_engine(settings)
        head = open_head(settings, engine, TASK, checkpoint)
        network = head.model

        if network.skeleton.names != data.skeleton.names:
            raise InvalidInput(
                "annotations",
                f"its {len(data.skeleton)} keypoints are not the network's {len(network.skeleton)}",
                hint="give annotations of the same points",
            )
        persons: Sequence[Person] = data.persons
        if detections is not None:
            persons = read_detections(detections)
        elif detector is not None:
            threshold = settings.pose.detector_threshold
            assert head.finder is not None  # one that is named opens, or says why not
            persons = detect_persons(engine, head.finder.find, data, threshold)
        chosen = set(image_ids)
        persons = [one for one in persons if one.image_id in chosen]
        with step_bar("images", len({one.image_id for one in persons})) as advance:
            predictions = predict_persons(
                engine, network, data, persons, crop=crop, flip_test=flip_test, on_image=advance
            )
        figures, rows = evaluated(data, predictions, image_ids)
        column = {
            key if part == "keypoints" else f"{part} {key}": value
            for part, ten in figures.items()
            for key, value in ten.items()
        }
        if detections is None and detector is None:
            column["PCK 0.1"] = share_found(data, {one.id: one.points for one in predictions})["all"]
        if first is not None:
            column |= {f"px moved, {key}": value for key, value in point_errors(predictions, first).items()}
        first = first or predictions
        columns[name or settings.dtype] = column
        if results is not None and len(columns) == 1:
            _write_results(results, rows)
    if as_json:
        typer.echo(json.dumps(columns))
    else:
        _print_columns(columns, data, len(image_ids))


def _write_results(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write the result file. Raises InvalidInput if it cannot be written."""
    try:
        write_file(file, json.dumps(rows).encode())
    except OSError as error:
        raise InvalidInput("--results", f"{file} can not be written: {error.strerror}", hint="name another") from error


def _print_columns(columns: dict[str, dict[str, float]], data: PoseData, images: int) -> None:

    table = Table(box=None, pad_edge=False)
    table.add_column(f"{images} images, {len(data.skeleton)} keypoints")
    for name in columns:
        table.add_column(name, justify="right")
    for key in dict.fromkeys(key for column in columns.values() for key in column):
        table.add_row(key, *(f"{column[key]:.4f}" if key in column else "" for column in columns.values()))
    Console(highlight=False, markup=False).print(table)
