"""`diffsight predict depth|segmentation|referring`: dense results without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.predict import Images, open_engine, progress, read_image
from service.settings.loader import Settings, load_settings

if TYPE_CHECKING:
    from heads.vpd.heads import Task
    from service.dense import DenseHeads
    from service.inputs.images import DecodedImage

HeadFile = Annotated[
    str | None,
    typer.Option("--head", help="File that `diffsight fit` wrote, a published checkpoint, or a model's name."),
]
Overlay = Annotated[
    Path | None, typer.Option(help="Picture to write; of several images a folder.", metavar="FILE", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(help="Result to write, .png or .npy; of several images a folder.", metavar="FILE", show_default=False),
]


def depth(
    images: Images,
    overlay: Overlay = None,
    out: Out = None,
    scene: Annotated[str | None, typer.Option(help="Scene class, of the published network.")] = None,
    protocol: Annotated[
        Literal["fast", "published"], typer.Option(help="One pass, or windows and mirror images.")
    ] = "fast",
    head: HeadFile = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict depth photo.jpg --overlay out.png --out depth.png

    Metres at every pixel. --out writes 16-bit PNG in millimetres, or .npy in metres.
    """
    settings = with_head(load_settings(config, backbone=backbone, device=device, dtype=dtype), "depth", head)
    engine, heads = opened(settings, "depth")
    chosen = heads.depth_head()

    from backbones.engine import complete
    from heads.outputs import depth_overlay, depth_png, depth_statistics, npy_file
    from heads.vpd.depth import predict_depth

    def answer(path: Path, picture: DecodedImage) -> tuple[dict[str, Any], str, dict[Path, bytes]]:
        got = complete(predict_depth(engine, picture.array, chosen, scene=scene, protocol=protocol))
        told = depth_statistics(got).model_dump() | {"scene": got.scene}
        files = {}
        if overlay:
            files[place(overlay, path, images, ".png")] = depth_overlay(picture.array, got)
        if out:
            file = place(out, path, images, ".png")
            files[file] = npy_file(got.metres) if file.suffix == ".npy" else depth_png(got)
        return told, f"{told['minimum']:.2f} to {told['maximum']:.2f} m, median {told['median']:.2f} m", files

    answer_each(images, settings, answer, as_json=as_json)


def segmentation(
    images: Images,
    overlay: Overlay = None,
    out: Out = None,
    protocol: Annotated[
        Literal["fast", "slide", "multiscale"], typer.Option(help="One pass, windows, or five scales of them.")
    ] = "fast",
    head: HeadFile = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict segmentation street.jpg --overlay out.png

    The class of every pixel. --out writes class indices as PNG with a palette, or .npy.
    """
    settings = with_head(load_settings(config, backbone=backbone, device=device, dtype=dtype), "segmentation", head)
    engine, heads = opened(settings, "segmentation")
    chosen = heads.segmentation_head()

    from backbones.engine import complete
    from heads.outputs import class_map_png, class_masks, class_overlay, mask_answers, npy_file
    from heads.vpd.segmentation import predict_segmentation

    def answer(path: Path, picture: DecodedImage) -> tuple[dict[str, Any], str, dict[Path, bytes]]:
        got = complete(predict_segmentation(engine, picture.array, chosen, protocol=protocol))
        masks = mask_answers(class_masks(got))
        files = {}
        if overlay:
            files[place(overlay, path, images, ".png")] = class_overlay(picture.array, got)
        if out:
            file = place(out, path, images, ".png")
            files[file] = npy_file(got.class_map) if file.suffix == ".npy" else class_map_png(got)
        told = {"segments": [mask.model_dump(exclude_none=True) for mask in masks]}
        return told, ", ".join(f"{mask.name} {mask.share:.0%}" for mask in masks[:6]), files

    answer_each(images, settings, answer, as_json=as_json)


def referring(
    images: Images,
    expression: Annotated[
        list[str], typer.Option(help="What to find; may be repeated.", metavar="TEXT", show_default=False)
    ],
    overlay: Overlay = None,
    out: Out = None,
    head: HeadFile = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict referring table.jpg --expression "the red cup" --overlay out.png

    The mask that each expression names. --out writes the first one as PNG, or all as .npy.
    """
    settings = with_head(load_settings(config, backbone=backbone, device=device, dtype=dtype), "referring", head)
    engine, heads = opened(settings, "referring")
    chosen = heads.referring_head()

    from backbones.engine import complete
    from heads.outputs import mask_answers, mask_png, masks_overlay, npy_file
    from heads.vpd.referring import predict_referring

    def answer(path: Path, picture: DecodedImage) -> tuple[dict[str, Any], str, dict[Path, bytes]]:
        got, read = complete(predict_referring(engine, picture.array, chosen, expression))
        masks = mask_answers(got)
        files = {}
        if overlay:
            files[place(overlay, path, images, ".png")] = masks_overlay(picture.array, got)
        if out:
            file = place(out, path, images, ".png")
            files[file] = npy_file(got.masks) if file.suffix == ".npy" else mask_png(got.masks[0])
        pairs = zip(masks, read, strict=True)
        told = {"masks": [mask.model_dump(exclude_none=True) | {"cut": one.cut} for mask, one in pairs]}
        return told, ", ".join(f"{mask.name}: {mask.share:.1%}" for mask in masks), files

    answer_each(images, settings, answer, as_json=as_json)


Answer = Callable[[Path, "DecodedImage"], tuple[dict[str, Any], str, dict[Path, bytes]]]
"""From an image to what --json prints, what people read, and files to write."""


def answer_each(images: list[Path], settings: Settings, answer: Answer, *, as_json: bool) -> None:
    """One line an image; those that can not be read are told on standard error, and the exit status is 2."""
    failed = 0
    for path in progress(images):
        try:
            picture = read_image(path, settings)
        except InvalidInput as error:
            typer.echo(f"diffsight: {path}: {error}", err=True)
            failed += 1
            continue
        told, text, files = answer(path, picture)
        for file, content in files.items():
            write(file, content)
        written = [str(file) for file in files]
        typer.echo(
            json.dumps({"image": str(path), **told, "files": written}, ensure_ascii=False)
            if as_json
            else f"{path}: {text}" + (f"  -> {', '.join(written)}" if written else "")
        )
    if failed:
        raise typer.Exit(2)


def with_head(settings: Settings, task: Task, head: str | None) -> Settings:
    """The settings with the head of the command line, where one is given."""
    if head is None:
        return settings
    return settings.model_copy(update={"heads": settings.heads.model_copy(update={task: head})})


def opened(settings: Settings, task: Task) -> tuple[Any, DenseHeads]:
    """The engine that answers at once, and the task's head over its backbone. Imports torch."""
    from service.dense import open_dense_heads

    engine = open_engine(settings)
    return engine, open_dense_heads(settings, engine.model, (task,))  # type: ignore[arg-type]


def place(given: Path, image: Path, images: list[Path], suffix: str) -> Path:
    """The file to write for one image: as given, or in that folder where there are several images."""
    return given if len(images) == 1 and not given.is_dir() else given / f"{image.stem}{suffix}"


def write(file: Path, content: bytes) -> None:
    """Write beside and rename. Raises InvalidInput where that can not be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.part")
        beside.write_bytes(content)
        beside.replace(file)
    except OSError as error:
        raise InvalidInput("--out", f"{file} can not be written: {error.strerror}", hint="name another file") from error
