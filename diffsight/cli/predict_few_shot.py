"""`diffsight predict few-shot`: find what other pictures show, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.predict import Images, open_engine, progress, read_image
from service.settings.loader import Settings, load_settings

Weights = Annotated[
    str | None,
    typer.Option(help="Folder of DiffewS, a name of `diffsight models list`, or what `fit few-shot` wrote."),
]


def few_shot(
    images: Images,
    support: Annotated[list[Path], typer.Option(help="Picture that shows it; repeat it.", metavar="IMAGE")],
    mask: Annotated[list[Path], typer.Option(help="Its mask, object white; one a support.", metavar="IMAGE")],
    out: Annotated[Path, typer.Option(help="Folder to write masks and overlays to.", metavar="FOLDER")],
    threshold: Annotated[
        Literal["relative", "absolute"], typer.Option(help="Relative always finds something; absolute may not.")
    ] = "relative",
    threshold_value: Annotated[
        float | None, typer.Option(help="Default: 0.25 relative, 0.15 absolute.", min=1e-6, max=0.999999)
    ] = None,
    weights: Weights = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight predict few-shot kitchen.jpg --support cup.jpg --mask cup.png --out found

    For each image NAME writes NAME.mask.png and NAME.overlay.png. The supports are encoded once.
    """
    if len(support) != len(mask):
        raise InvalidInput("--mask", f"{len(mask)} masks for {len(support)} supports", hint="give one for each")
    settings = with_weights(load_settings(config, backbone=backbone, device=device, dtype=dtype), weights)
    pictures = [(path, read_image(path, settings)) for path in images]
    shown = [read_image(path, settings).array for path in support]
    painted = [read_image(path, settings).array for path in mask]
    engine = open_engine(settings)

    import numpy as np

    from backbones.engine import complete
    from heads.diffews.bank import VARIANT, concatenated, support_banks
    from heads.diffews.preprocess import input_size
    from heads.diffews.segment import segment_concepts
    from heads.diffews.threshold import Threshold
    from heads.outputs import mask_png, masks_overlay
    from heads.results import Masks
    from service.library.concepts import checked_pairs

    if VARIANT not in engine.backbone.variants:
        raise InvalidInput("--weights", "no few-shot weights", hint="give a DiffewS folder that fits the backbone")
    size = settings.few_shot.image_size or input_size(engine.backbone)
    pairs, notes = checked_pairs(shown, painted, size)
    for note in notes:
        typer.echo(f"diffsight: {note}", err=True)
    banks = complete(support_banks(engine, [one for one, _ in pairs], [two for _, two in pairs], size=size))
    cut = Threshold(threshold, threshold_value or (0.25 if threshold == "relative" else 0.15))
    out.mkdir(parents=True, exist_ok=True)
    for path, picture in progress(pictures):
        found = complete(segment_concepts(engine, picture.array, [concatenated(banks)], thresholds=[cut], size=size))[0]
        (out / f"{path.stem}.mask.png").write_bytes(mask_png(found.mask))
        shown_masks = Masks(np.asarray(found.mask)[None], ("",), (found.presence,))
        (out / f"{path.stem}.overlay.png").write_bytes(masks_overlay(picture.array, shown_masks))
        share = float(found.mask.mean())
        if as_json:
            told = {"image": str(path), "share": share, "presence": found.presence, "cut": found.cut}
            typer.echo(json.dumps(told))
        else:
            typer.echo(f"{path}: {share:.1%} of the image, presence {found.presence:.2f}")


def with_weights(settings: Settings, weights: str | None) -> Settings:
    """The settings with few-shot weights of one's own."""
    if weights is None:
        return settings
    return settings.model_copy(update={"few_shot": settings.few_shot.model_copy(update={"weights": weights})})
