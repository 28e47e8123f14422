"""`diffsight predict pose`: keypoints of persons, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.predict import Images, open_engine, progress, read_image
from service.settings.loader import Settings, load_settings

if TYPE_CHECKING:
    from backbones.engine import DirectEngine
    from service.inputs.images import DecodedImage
    from service.pose import FoundPoses, PoseService

Checkpoint = Annotated[
    str | None,
    typer.Option(help="Folder of SDPose, a name of `diffsight models list`, or what `diffsight fit pose` wrote."),
]
DetectorName = Annotated[
    str | None, typer.Option("--detector", help="Object-detection model of transformers, or an .onnx file.")
]


def pose(
    images: Images,
    box: Annotated[
        list[str] | None,
        typer.Option(help="A person's box in pixels; repeat it for more.", metavar="X,Y,WIDTH,HEIGHT"),
    ] = None,
    checkpoint: Checkpoint = None,
    detector: DetectorName = None,
    crop: Annotated[
        Literal["affine", "stretch"], typer.Option(help="The published evaluation's crop, or the demo's.")
    ] = "affine",
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Look at mirrored persons too.")] = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder for pictures with skeletons.", metavar="FOLDER", show_default=False)
    ] = None,
    openpose: Annotated[
        Path | None, typer.Option(help="Folder for ControlNet's skeletons on black.", metavar="FOLDER")
    ] = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict pose team.jpg --backbone SDPose-Body --box 10,20,80,200 --overlay out

    Keypoints of the persons in each image: of the boxes given, else of a detector's, else of the image as one person.
    With --json one JSON object a line and image. Images that can not be read are told on standard error, the others
    are still answered, and the exit status is 2.
    """
    boxes = None if not box else [parsed_box(text) for text in box]
    settings = with_pose(load_settings(config, backbone=backbone, device=device, dtype=dtype), checkpoint, detector)
    engine, poses = open_poses(settings)
    poses.network()
    for folder in (overlay, openpose):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    from backbones.engine import complete
    from service.pose import find_poses

    failed = 0
    for path in progress(images):
        try:
            picture = read_image(path, settings)
        except InvalidInput as error:
            typer.echo(f"diffsight: {path}: {error}", err=True)
            failed += 1
            continue
        found = complete(
            find_poses(
                poses,
                engine,
                picture.array,
                boxes=boxes,
                detector_threshold=settings.pose.detector_threshold,
                max_persons=settings.pose.max_persons,
                crop=crop,
                flip_test=flip_test,
            )
        )
        typer.echo(json.dumps(answer(path, found, picture)) if as_json else line(path, found))
        write_pictures(path, found, picture, settings, overlay, openpose)
    if failed:
        raise typer.Exit(2)


def parsed_box(text: str) -> list[float]:
    """x, y, width, height of a text with commas. Raises InvalidInput for another."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise InvalidInput("--box", f"{text!r} is not x,y,width,height", hint="such as --box 10,20,80,200")
    return values


def with_pose(settings: Settings, checkpoint: str | None, detector: str | None) -> Settings:
    """The settings with the command's own network and detector."""
    given = {"checkpoint": checkpoint, "detector": detector}
    changed = {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={"pose": settings.pose.model_copy(update=changed)})


def open_poses(settings: Settings) -> tuple[DirectEngine, PoseService]:
    """The settings' backbone behind the direct engine, with its pose network and detector. Imports torch."""
    from backbones.stable_diffusion import StableDiffusion
    from service.dense import open_dense_heads
    from service.pose import open_pose_service

    engine = open_engine(settings)
    assert isinstance(engine.model, StableDiffusion)
    model = engine.model
    return engine, open_pose_service(
        settings, model, lambda: open_dense_heads(settings, model, ("segmentation",)).segmentation
    )


def answer(path: Path, found: FoundPoses, picture: DecodedImage) -> dict[str, Any]:
    """One image's answer as plain values."""
    from service.api.pose import person_answers

    persons = person_answers(found.keypoints, found.problems, picture, normalised=False)
    return {
        "image": str(path),
        "boxes_from": found.keypoints.boxes_from,
        "names": list(found.keypoints.names),
        "persons": [one.model_dump() for one in persons],
    }


def line(path: Path, found: FoundPoses) -> str:
    """One image's answer as a line for people."""
    scores = ", ".join(f"{float(one.mean()):.2f}" for one in found.keypoints.scores)
    count = len(found.keypoints.scores)
    persons = f"{count} person{'s' if count != 1 else ''} by {found.keypoints.boxes_from}"
    return f"{path}: {persons}" + (f", mean point scores {scores}" if count else "")


def write_pictures(
    path: Path,
    found: FoundPoses,
    picture: DecodedImage,
    settings: Settings,
    overlay: Path | None,
    openpose: Path | None,
) -> None:
    """The pictures that were asked for, under the image's name, beside and renamed."""
    if overlay is None and openpose is None:
        return
    from PIL import Image

    from heads.outputs import png_file
    from heads.sdpose.openpose import overlay as laid_over
    from heads.sdpose.openpose import skeleton_picture

    canvas = skeleton_picture(
        found.keypoints, picture.height, picture.width, threshold=settings.pose.keypoint_threshold
    )
    for folder, shown in ((overlay, laid_over(picture.array, canvas)), (openpose, canvas)):
        if folder is not None:
            file = folder / f"{path.stem}.png"
            beside = file.with_suffix(".part")
            beside.write_bytes(png_file(Image.fromarray(shown)))
            beside.replace(file)
