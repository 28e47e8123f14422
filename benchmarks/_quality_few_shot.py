"""Few-shot segmentation of kinds in no training data, compared with two baselines without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO
from torch.nn import functional

from backbones.engine import DirectEngine, complete
from backbones.rows import Capture, UNetRow
from benchmarks._table import print_table
from heads.diffews.episodes import Episode, draw_episodes
from heads.diffews.evaluate import Labelled, run_episodes, scores_of
from heads.diffews.metrics import areas, scores
from heads.diffews.preprocess import pixel_values
from service.library import few_shot
from service.models.loading import OpenHeads, open_model
from service.settings.loader import load_settings

HELD_OUT = Path(__file__).parents[1] / "training" / "world" / "held_out" / "few_shot"
EPISODES = 200
SHOTS = (1, 5)
FEATURE, TIMESTEP = "up_blocks.2", 50
"""The features of the nearest-neighbour baseline: the last level but one, at low noise."""

Guess = Callable[[Labelled, Sequence[Labelled]], NDArray[np.bool_]]
"""A mask of the query (H, W) from the query and its supports."""


def measure_few_shot(data: Path = HELD_OUT) -> dict[str, float]:
    """mIoU, 0 to 1, over the held-out kinds for 1 and 5 shots: `few_shot_miou_1`, and those of both baselines.

    data: a world of kinds that are not in the training data.
    Raises ModelNotFound if there are no few-shot weights for the backbone.
    """
    settings = load_settings()
    model = open_model(settings)
    engine = DirectEngine(model)
    size = OpenHeads(settings, model, [few_shot.TASK]).require(few_shot.TASK).image_size
    read, names = world_reader(data)
    class_ids = sorted(names)
    figures: dict[str, float] = {}
    for shots in SHOTS:
        episodes = draw_episodes(names, class_ids, shots, EPISODES, np.random.RandomState(0), in_turn=True)

        async def score_head(episodes: Sequence[Episode] = episodes) -> float:
            results = [result async for result in run_episodes(engine, episodes, read, size=size)]
            return scores_of(results, class_ids).mean_iou / 100

        figures[f"few_shot_miou_{shots}"] = complete(score_head())
        guesses: dict[str, Guess] = {"pasted": paste_mask, "neighbours": nearest_neighbours(engine, size)}
        for name, guess in guesses.items():
            figures[f"few_shot_{name}_miou_{shots}"] = score_guess(episodes, read, guess, class_ids)
    rows = [
        [title, *(f"{figures[f'few_shot_{name}miou_{shots}']:.3f}" for shots in SHOTS)]
        for title, name in (("the head", ""), ("support mask in place", "pasted_"), ("features", "neighbours_"))
    ]
    columns = ["what answers", *(f"{shots} shots" for shots in SHOTS)]
    print_table(f"mIoU on {len(class_ids)} held-out kinds, {EPISODES} episodes", columns, rows)
    return figures


def world_reader(data: Path) -> tuple[Callable[[str, int], Labelled], dict[int, list[str]]]:
    """A function that reads an image and the mask of a kind, and the images of each kind that is on at least two."""
    with redirect_stdout(StringIO()):  # pycocotools prints its progress
        coco = COCO(str(data / "instances.json"))
    files = {entry["file_name"]: entry["id"] for entry in coco.dataset["images"]}

    def read(name: str, class_id: int) -> Labelled:
        ids = coco.getAnnIds(imgIds=files[name], catIds=class_id)
        masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(ids)]
        picture = np.asarray(Image.open(data / "images" / name).convert("RGB"))
        return picture, np.max(masks, axis=0).astype(np.uint8)

    names = {
        kind: sorted({coco.imgs[image_id]["file_name"] for image_id in coco.getImgIds(catIds=kind)})
        for kind in coco.getCatIds()
    }
    return read, {kind: files for kind, files in names.items() if len(files) > 1}


def score_guess(
    episodes: Sequence[Episode], read: Callable[[str, int], Labelled], guess: Guess, class_ids: Sequence[int]
) -> float:
    """mIoU of a baseline, 0 to 1."""
    counted = []
    for episode in episodes:
        query = read(episode.query, episode.class_id)
        counted.append(areas(guess(query, [read(name, episode.class_id) for name in episode.supports]), query[1] == 1))
    classes = [episode.class_id for episode in episodes]
    return scores(class_ids, classes, [one for one, _ in counted], [one for _, one in counted]).mean_iou / 100


def paste_mask(query: Labelled, supports: Sequence[Labelled]) -> NDArray[np.bool_]:
    """Guess the mask that at least half of the supports have; with one support, its own mask."""
    mean: NDArray[np.float64] = np.mean([mask == 1 for _, mask in supports], axis=0)
    return mean >= 0.5


def nearest_neighbours(engine: DirectEngine, size: int) -> Guess:
    """Each position of the query gets the label of the support position with the most similar frozen features, by
    cosine.
    """

    def features(image: NDArray[np.uint8]) -> torch.Tensor:
        (latents,) = complete(engine.encode([pixel_values(image, size)]))
        context = complete(engine.embed([""]))[0]
        row = UNetRow(latents, TIMESTEP, context, Capture(features=(FEATURE,)))
        (captures,) = complete(engine.unet([row]))
        return functional.normalize(captures.features[FEATURE].float(), dim=0)

    def guess(query: Labelled, supports: Sequence[Labelled]) -> NDArray[np.bool_]:
        query_features = features(query[0])
        support_features, labels = [], []
        for image, mask in supports:
            feature_map = features(image)
            object_ = torch.from_numpy((mask == 1).astype(np.float32))[None]
            share = functional.adaptive_avg_pool2d(object_, (feature_map.shape[-2], feature_map.shape[-1]))
            support_features.append(feature_map.flatten(1))
            labels.append(share.flatten() > 0.5)
        alike = query_features.flatten(1).T @ torch.cat(support_features, dim=1)
        answer = torch.cat(labels)[alike.argmax(dim=1)].reshape(query_features.shape[-2:])
        shape = query[1].shape
        resized = functional.interpolate(answer[None, None].float(), shape, mode="nearest")[0, 0] > 0.5
        return resized.numpy()

    return guess
