"""Zero-shot classification with four methods on one labelled set, in one run:

- full grid: every label on every unit (timestep, noise); the others look for its answer with fewer rows;
- published schedule: the rounds of the paper's command for this number of labels;
- race at 0.95: paired tests on blocks in random order;
- race on a tenth: the same with a tenth of the published rows as its budget.

The grid's errors are computed once and stored (--cache), one file for each image. The other methods replay on them, so
that each race can run in 200 orders. Labelled sets: handwritten digits that are not in `pocket`'s training data, or
--folder FOLDER with one folder of images for each label.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.engine import DirectEngine, complete
from backbones.files import replacing
from benchmarks._table import arguments, print_table, write_figures
from heads.diffusion_classifier.anytime import Budget, Race, anytime_race
from heads.diffusion_classifier.classify import clean_latents, evidence
from heads.diffusion_classifier.schedule import Schedule, new_timesteps, published_schedule
from heads.diffusion_classifier.units import Layout, default_layout, doubling_looks, timestep_of
from service.models.loading import open_model
from service.settings.loader import load_settings

CONFIDENCE = 0.95


@dataclass(frozen=True)
class LabelledSet:
    """images: (H, W, 3) uint8 RGB each. labels: (N,) int, indices into `prompts`."""

    name: str
    images: list[NDArray[np.uint8]]
    labels: NDArray[np.int64]
    prompts: tuple[str, ...]


def digits(count: int) -> LabelledSet:
    """Handwritten digits that are not in `pocket`'s training data, in a fixed random order."""
    from training.datasets.digits import CLASS_PROMPTS, load_held_out_digits

    held_out = load_held_out_digits()
    chosen = np.random.default_rng(0).permutation(len(held_out))[:count]
    images = [held_out.image(int(index)) for index in chosen]
    return LabelledSet("digits", images, held_out.labels[chosen], CLASS_PROMPTS)


def from_folder(folder: Path, template: str, count: int) -> LabelledSet:
    """Images of one folder for each label, an even share of each, in a fixed random order."""
    names = sorted(place.name for place in folder.iterdir() if place.is_dir())
    files = [(file, label) for label, name in enumerate(names) for file in sorted((folder / name).iterdir())]
    chosen = [files[index] for index in np.random.default_rng(0).permutation(len(files))[:count]]
    images = [np.asarray(Image.open(file).convert("RGB")) for file, _ in chosen]
    prompts = tuple(template.replace("{}", name) for name in names)
    return LabelledSet(folder.name, images, np.array([label for _, label in chosen]), prompts)


@functools.cache
def engine_of(backbone: str, device: str) -> DirectEngine:
    """The backbone, opened once in each process."""
    return DirectEngine(open_model(load_settings(backbone=backbone, device=device, engine={"torch_threads": 1})))


def grid(backbone: str, device: str, image: NDArray[np.uint8], prompts: Sequence[str], units: int) -> Any:
    """The errors of all prompts on all units, (prompts, units) float32.

    image: (H, W, 3) uint8 RGB.
    """

    async def run() -> Any:
        engine = engine_of(backbone, device)
        latents, key = await clean_latents(engine, image, "bicubic")
        errors_of = evidence(engine, latents, await engine.embed(prompts), key, units)
        return (await errors_of(range(len(prompts)), range(units))).numpy()

    return complete(run())


def grids(chosen: LabelledSet, backbone: str, device: str, units: int, cache: Path) -> NDArray[np.float32]:
    """The grids of all images, (images, prompts, units) float32, from the cache if it has them."""
    from rich.progress import Progress

    described = engine_of(backbone, device).backbone
    revision = described.revision[:16]
    cores = (os.cpu_count() or 1) if described.device.type == "cpu" else 1
    folder = cache / f"{chosen.name}-{len(chosen.prompts)}x{units}-{revision}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:05}.npy" for number in range(len(chosen.images))]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    if missing:
        # Spawned, as torch's threads do not outlive a fork.
        pool = ProcessPoolExecutor(min(cores, len(missing)), mp_context=multiprocessing.get_context("spawn"))
        with pool, Progress(transient=True) as progress:
            task = progress.add_task("errors of the full grid, images", total=len(missing))
            images = [chosen.images[number] for number in missing]
            work = functools.partial(grid, backbone, device, prompts=chosen.prompts, units=units)
            for number, errors in zip(missing, pool.map(work, images), strict=True):
                with replacing(files[number]) as file:
                    np.save(file, errors)
                progress.advance(task)
    return np.stack([np.load(file) for file in files])


def follow_schedule(errors: NDArray[np.float32], schedule: Schedule) -> tuple[int, int]:
    """The published algorithm on one image's grid: its answer and its rows. errors: (labels, units) float32.

    Here the noise of a timestep is the grid's; the original numbers noises in the order of visiting.
    """
    place = {timestep_of(unit, errors.shape[1]): unit for unit in range(errors.shape[1])}
    candidates, visited, rows = list(range(len(errors))), [], 0
    for timesteps, keep in zip(new_timesteps(schedule), schedule.to_keep, strict=True):
        visited += [place[timestep] for timestep in timesteps]
        rows += len(candidates) * len(timesteps)
        means = errors[candidates][:, visited].mean(axis=1)
        candidates = [candidates[at] for at in means.argsort(kind="stable")[:keep]]
    return candidates[0], rows


def run_races(
    errors: NDArray[np.float32],
    layout: Layout,
    orders: int,
    budget: Budget | None = None,
    indifference: float = 0.0,
    confidence: float = CONFIDENCE,
) -> list[Race]:
    """A race on one image's grid in each of `orders` random orders. errors: (labels, units) float32."""
    import torch

    table = torch.from_numpy(errors)

    async def errors_of(labels: Sequence[int], units: Sequence[int]) -> Any:
        return table[list(labels)][:, list(units)]

    async def run() -> list[Race]:
        members = [(label,) for label in range(len(errors))]
        races = []
        for seed in range(orders):
            order = np.random.default_rng(seed).permutation(layout.blocks).tolist()
            rate = 1 - confidence
            races.append(
                await anytime_race(
                    errors_of, members, layout, order, error_rate=rate, budget=budget, indifference=indifference
                )
            )
        return races

    return complete(run())


def facts(races: list[list[Race]], best: NDArray[np.int64]) -> tuple[NDArray[np.int64], float, float, float]:
    """Answers of the races of each image (images, orders), mean rows, and two shares for a claimed confidence of 0.95.

    The first is the share of claims that differ from the full grid's answer, best (images,); the second the share of
    answers that claim 0.95.
    """
    answers = np.array([[race.elimination.leader for race in of_image] for of_image in races])
    rows = float(np.mean([race.rows for of_image in races for race in of_image]))
    sure = np.array([[race.elimination.confidence() >= CONFIDENCE for race in of_image] for of_image in races])
    wrong = (answers != best[:, None]) & sure
    return answers, rows, float(wrong.sum() / max(1, sure.sum())), float(sure.mean())


def compare_layouts(errors: NDArray[np.float32], best: NDArray[np.int64], orders: int) -> dict[str, float]:
    """Print and return the rows of races with other sizes of blocks and first looks.

    errors: (images, labels, units) float32. best: (images,), the full grid's answers.
    """
    units = errors.shape[2]
    figures, lines = {}, []
    for size, first in ((10, 5), (5, 5), (5, 8), (2, 5), (2, 8), (2, 16), (1, 8), (1, 16), (1, 32)):
        layout = Layout(units, units // size, doubling_looks(first, units // size))
        _, rows, wrong, _ = facts([run_races(image_errors, layout, orders) for image_errors in errors], best)
        figures[f"layout_{size}_units_first_{first}_rows"] = rows
        lines.append([f"{size}", f"{first}", f"{rows:,.0f}", f"{wrong:.4f}"])
    note = f"{len(errors)} images, {orders} orders; looks double from the first one to three fifths of the blocks"
    print_table("Layouts of the race", ["units of a block", "first look", "rows an image", "wrong"], lines, [note])
    return figures


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--orders", type=int, default=200, help="random orders of the blocks, each image")
    parser.add_argument("--folder", type=Path, help="one folder of images a label, instead of the digits")
    parser.add_argument("--template", default="a photo of a {}.", help="prompt of a folder's name")
    parser.add_argument(
        "--cache", type=Path, default=Path("out/bench/zero_shot"), help="where grids of errors are kept"
    )
    parser.add_argument("--layouts", action="store_true", help="also race by other blocks and looks")
    options = parser.parse_args()

    chosen = from_folder(options.folder, options.template, options.images) if options.folder else digits(options.images)
    count = len(chosen.prompts)
    # The last round of the published schedules for up to 200 labels has the timesteps of this grid.
    layout, schedule = default_layout(count), published_schedule(count)
    errors = grids(chosen, options.backbone, options.device, layout.units, options.cache)
    best = errors.mean(axis=2, dtype=np.float64).argmin(axis=1)
    published = np.array([follow_schedule(image_errors, schedule) for image_errors in errors])
    tenth = Budget(rows=int(published[0, 1]) // 10)
    races = [run_races(image_errors, layout, options.orders) for image_errors in errors]
    capped = [run_races(image_errors, layout, options.orders, tenth) for image_errors in errors]

    raced_answers, raced_rows, wrong_sure, raced_sure = facts(races, best)
    tenth_answers, tenth_rows, tenth_wrong_sure, tenth_sure = facts(capped, best)
    ways = {
        "full grid": (best[:, None], float(errors[0].size), None),
        "published schedule": (published[:, :1], float(published[:, 1].mean()), None),
        "race at 0.95": (raced_answers, raced_rows, raced_sure),
        "race on a tenth": (tenth_answers, tenth_rows, tenth_sure),
    }
    accuracy = {way: float((answers == chosen.labels[:, None]).mean()) for way, (answers, _, _) in ways.items()}
    print_table(
        f"Zero-shot: {options.backbone}, {chosen.name}, {len(errors)} images, {count} labels",
        ["way", "accuracy", "as the full grid", "rows an image", "claims 0.95"],
        [
            [
                way,
                f"{accuracy[way]:.3f}",
                f"{(answers == best[:, None]).mean():.4f}",
                f"{rows:,.0f}",
                "-" if sure is None else f"{sure:.3f}",
            ]
            for way, (answers, rows, sure) in ways.items()
        ],
        [
            f"races: {options.orders} orders an image; of the answers that claim {CONFIDENCE}, {wrong_sure:.4f} differ "
            f"from the full grid's (on a tenth: {tenth_wrong_sure:.4f})"
        ],
    )
    figures = {
        "racing_rows_over_published": raced_rows / float(published[:, 1].mean()),
        "racing_accuracy_minus_full": accuracy["race at 0.95"] - accuracy["full grid"],
        "wrong_at_confidence_95": wrong_sure,
        "tenth_budget_accuracy_minus_full": accuracy["race on a tenth"] - accuracy["full grid"],
        "published_accuracy_minus_full": accuracy["published schedule"] - accuracy["full grid"],
        "full_accuracy": accuracy["full grid"],
        "racing_agreement": float((raced_answers == best[:, None]).mean()),
        "tenth_budget_agreement": float((tenth_answers == best[:, None]).mean()),
        "full_rows": float(errors[0].size),
        "published_rows": float(published[:, 1].mean()),
        "racing_rows": raced_rows,
        "tenth_budget_rows": tenth_rows,
    }
    if options.layouts:
        figures |= compare_layouts(errors, best, options.orders)
    write_figures(options.json, figures, images=len(errors), orders=options.orders, backbone=options.backbone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
