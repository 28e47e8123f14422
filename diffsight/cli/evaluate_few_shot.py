"""`diffsight evaluate few-shot`: mIoU by the published protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from backbones.engine import complete
from diffsight.cli.local import open_engine, open_head, progress
from diffsight.cli.options import AsJson, with_settings
from heads.diffews.episodes import Episode
from heads.diffews.evaluate import EpisodeResult, run_episodes, scores_of
from service.library.few_shot import TASK
from service.settings.loader import Settings
from training.few_shot_benchmarks import open_fold

Weights = Annotated[
    str | None,
    typer.Option(help="Folder of DiffewS, a name of `diffsight models list`, or what `fit few-shot` wrote."),
]


@with_settings()
def few_shot(
    *,
    root: Annotated[Path, typer.Argument(help="Folder that holds VOC2012, COCO2014 or LVIS.", metavar="FOLDER")],
    benchmark: Annotated[Literal["pascal", "coco", "lvis"], typer.Option(help="PASCAL-5i, COCO-20i or LVIS-92i.")],
    fold: Annotated[
        int,
        typer.Option(
            help="Fold of the benchmark, from 0. Published figures are given for each fold, and as their mean.", min=0
        ),
    ] = 0,
    shots: Annotated[int, typer.Option(help="Supports in each episode.", min=1)] = 1,
    episodes: Annotated[
        int | None, typer.Option(help="Number of episodes. Default: the protocol's 1000, for LVIS 2300.", min=1)
    ] = None,
    sampling: Annotated[
        bool, typer.Option("--sampling", help="Use the option `support_sampling` of the task.")
    ] = False,
    weights: Weights = None,
    settings: Settings,
    as_json: AsJson = False,
) -> None:
    """
    \b
    diffsight evaluate few-shot datasets --benchmark coco --fold 0 --weights weight/coco_fold0/unet --backbone sd21

    Measure mIoU on the published episodes, drawn with seed 0, at the network's own size and with the relative threshold
    0.25.
    """
    opened = open_fold(benchmark, root, fold, shots, episodes=episodes)
    engine = open_engine(settings)

    size = open_head(settings, engine, TASK, weights).image_size

    async def run_episode(episode: Episode) -> list[EpisodeResult]:
        return [result async for result in run_episodes(engine, [episode], opened.read, size=size, sampling=sampling)]

    results = [result for episode in progress(opened.episodes) for result in complete(run_episode(episode))]
    scores = scores_of(results, opened.class_ids)
    figures = {
        "benchmark": benchmark,
        "fold": fold,
        "shots": shots,
        "episodes": len(results),
        "mean_iou": round(scores.mean_iou, 4),
        "fb_iou": round(scores.fb_iou, 4),
        "class_iou": dict(zip(map(str, opened.class_ids), scores.class_iou, strict=True)),
    }
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        typer.echo(f"{benchmark} fold {fold}, {shots} shots, {len(results)} episodes")
        typer.echo(f"mIoU {scores.mean_iou:.2f} %, FB-IoU {scores.fb_iou:.2f} %")
