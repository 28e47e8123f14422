"""`diffsight evaluate few-shot`: mIoU by the published protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from backbones.errors import InvalidInput
from diffsight.cli.options import AsJson, Backbone, Config, Device, DType
from diffsight.cli.local import open_engine, progress
from diffsight.cli.predict_few_shot import Weights, with_weights
from service.settings.loader import load_settings


def few_shot(
    root: Annotated[Path, typer.Argument(help="Folder that holds VOC2012, COCO2014 or LVIS.", metavar="FOLDER")],
    benchmark: Annotated[Literal["pascal", "coco", "lvis"], typer.Option(help="PASCAL-5i, COCO-20i or LVIS-92i.")],
    fold: Annotated[int, typer.Option(help="From 0; figures are given for each, and as their mean.", min=0)] = 0,
    shots: Annotated[int, typer.Option(help="Supports an episode.", min=1)] = 1,
    episodes: Annotated[int | None, typer.Option(help="Default: the protocol's 1000, for LVIS 2300.", min=1)] = None,
    sampling: Annotated[bool, typer.Option("--sampling", help="Draw supports down to one's size.")] = False,
    weights: Weights = None,
    backbone: Backbone = None,
    device: Device = None,
    dtype: DType = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate few-shot datasets --benchmark coco --fold 0 --weights weight/coco_fold0/unet --backbone sd21

    The published episodes, from seed 0, scored at the network's own size with the relative threshold 0.25.
    """
    settings = with_weights(load_settings(config, backbone=backbone, device=device, dtype=dtype), weights)
    from training.few_shot_benchmarks import open_fold

    opened = open_fold(benchmark, root, fold, shots, episodes=episodes)
    engine = open_engine(settings)

    from backbones.engine import complete
    from heads.diffews.bank import VARIANT
    from heads.diffews.episodes import Episode
    from heads.diffews.evaluate import EpisodeResult, run_episodes, scores_of
    from heads.diffews.preprocess import input_size

    if VARIANT not in engine.backbone.variants:
        raise InvalidInput("--weights", "no few-shot weights", hint="give a DiffewS folder that fits the backbone")
    size = settings.few_shot.image_size or input_size(engine.backbone)

    async def one(episode: Episode) -> list[EpisodeResult]:
        return [got async for got in run_episodes(engine, [episode], opened.read, size=size, sampling=sampling)]

    results = [got for episode in progress(opened.episodes) for got in complete(one(episode))]
    found = scores_of(results, opened.class_ids)
    told = {
        "benchmark": benchmark,
        "fold": fold,
        "shots": shots,
        "episodes": len(results),
        "mean_iou": round(found.mean_iou, 4),
        "fb_iou": round(found.fb_iou, 4),
        "class_iou": dict(zip(map(str, opened.class_ids), found.class_iou, strict=True)),
    }
    if as_json:
        typer.echo(json.dumps(told))
    else:
        typer.echo(f"{benchmark} fold {fold}, {shots} shots, {len(results)} episodes")
        typer.echo(f"mIoU {found.mean_iou:.2f} %, FB-IoU {found.fb_iou:.2f} %")
