"""The speed of a job, compared with the same model on one image at a time.

There are two loops. The plain loop takes one person after the other, as the published demo of SDPose does. In the other
loop, the persons of an image share a batch, which is the maximum within one image. All methods write every person's
keypoints in every image to a file that survives the process: the job uses its store, a loop writes a JSON line for each
image. The images are files with several persons each and known boxes. The methods take turns on the same images; in
every round, weights are warm and nothing is cached.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.backbone import Backbone
from backbones.engine import DirectEngine
from backbones.errors import DiffsightError, ModelNotFound
from benchmarks._table import arguments, print_table, write_figures
from heads.sdpose import pose
from heads.sdpose.estimation import PoseModel, estimate_poses
from heads.sdpose.skeletons import COCO_17
from service.inputs.images import decode_image
from service.jobs.parameters import complete_parameters
from service.jobs.records import Job
from service.jobs.runner import Runner
from service.jobs.sources import Source
from service.jobs.store import JobStore
from service.settings.loader import Settings, load_settings
from service.state import AppState, open_state
from service.tasks import TASKS, AnyTask
from service.telemetry.logging import configure_logging
from training.pose import PoseRecipe, initialise_pose
from training.pose_data import PoseData


def write_data_set(folder: Path, images: int, persons: int, side: int, seed: int) -> Path:
    """Write pictures of noise, which are in no cache, and the COCO file of their boxes."""
    drawn = np.random.default_rng(seed)
    folder.mkdir()
    document: dict[str, list[Any]] = {"images": [], "annotations": []}
    for index in range(images):
        pixels: NDArray[np.uint8] = drawn.integers(0, 255, (side, side, 3), dtype=np.uint8)
        name = f"{index:05d}.png"
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        document["images"].append({"id": index, "file_name": name})
        for _ in range(persons):
            corner = drawn.uniform(0, side / 2, 2)
            box = [*corner.tolist(), *drawn.uniform(side / 4, side / 2, 2).tolist()]
            document["annotations"].append({"image_id": index, "category_id": 1, "bbox": box})
    file = folder / "boxes.json"
    file.write_text(json.dumps(document))
    return file


def loop(state: AppState, file: Path, out: Path, settings: Settings, at_once: int) -> float:
    """Seconds of a loop over single images with the same model, with `at_once` persons in a batch; writes a JSON line
    an image.
    """
    loaded = state.models.get_open(POSE)
    engine, network = DirectEngine(loaded.model), loaded.head.model
    document = json.loads(file.read_text())
    boxes: dict[int, list[list[float]]] = {}
    for annotation in document["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation["bbox"])

    async def run() -> float:
        started = time.perf_counter()
        with out.open("w") as lines:
            for image in document["images"]:
                read = decode_image((file.parent / image["file_name"]).read_bytes(), settings.limits, field="image")
                of_image = np.array(boxes[image["id"]])
                points: list[Any] = []
                scores: list[Any] = []
                for first in range(0, len(of_image), at_once):
                    keypoints = await estimate_poses(engine, network, read.array, of_image[first : first + at_once])
                    points += keypoints.points.tolist()
                    scores += keypoints.scores.tolist()
                lines.write(json.dumps({"image": image["file_name"], "points": points, "scores": scores}) + "\n")
        return time.perf_counter() - started

    return asyncio.run(run())


def create_network(backbone: Backbone) -> PoseModel:
    """An untrained pose network for a backbone without one: a pass costs the same."""
    nothing = PoseData({}, Path(), COCO_17, (), {})
    return replace(initialise_pose(DirectEngine(backbone), nothing, PoseRecipe()), revision="untrained")


def open_or_create(backbone: Backbone, weights: Any = None, **options: Any) -> pose.PoseHead:
    """The pose head, with an untrained network if there are no weights."""
    try:
        return pose.open_pose_head(backbone, weights, **options)
    except ModelNotFound:
        return pose.PoseHead(create_network(backbone))


POSE: AnyTask = replace(pose.TASK, open=open_or_create)


async def as_job(state: AppState, store: JobStore, file: Path, settings: Settings) -> float:
    """Seconds of the job."""
    runner = Runner(store, state)
    source = Source(kind="coco", address=str(file)).model_dump()
    parameters = await complete_parameters(state, "pose", {})
    job = store.add("pose", parameters, source, local=True)
    started = time.perf_counter()
    claimed = store.claim(runner.owner, settings.jobs.lease_seconds, job_id=job.id)
    assert claimed is not None
    await runner.run(claimed)
    took = time.perf_counter() - started
    check(store.get(job.id))
    return took


def check(job: Job) -> None:
    """Raises RuntimeError if a job did not process all its images."""
    if (job.status, job.failed, job.reused) != ("done", 0, 0):
        raise RuntimeError(f"the job is {job.status} with {job.failed} failed, {job.reused} reused: {job.error}")


async def measure(
    settings: Settings, folder: Path, *, images: int, persons: int, side: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each method, round by round."""
    state = open_state(settings, (*(task for task in TASKS if task.name != POSE.name), POSE))
    await state.models.start()
    try:
        if state.models.failure is not None:
            raise state.models.failure
        store = JobStore(f"sqlite:///{folder / 'jobs.db'}")
        took: dict[str, list[float]] = {"plain": [], "batched": [], "job": []}
        for number in range(rounds + 1):
            few = images if number else min(images, 8)  # the first round warms up
            file = write_data_set(folder / f"round{number}", few, persons, side, number)
            out = folder / f"{number}.jsonl"
            # On another thread: their engine is synchronous, and this is the loop of the runner.
            now = {
                "plain": await asyncio.to_thread(loop, state, file, out, settings, 1),
                "batched": await asyncio.to_thread(loop, state, file, out, settings, persons),
                "job": await as_job(state, store, file, settings),
            }
            if number:
                for way, seconds in now.items():
                    took[way].append(seconds)
        store.close()
        return took
    finally:
        state.models.stop()


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--checkpoint", default="", help="the pose network; without one it is untrained")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--persons", type=int, default=4, help="in each image")
    parser.add_argument("--side", type=int, default=256, help="pixels of an image")
    parser.add_argument(
        "--crop", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"), help="of a person, if the network allows a choice"
    )
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()

    configure_logging("error")
    of_pose: dict[str, Any] = {"checkpoint": chosen.checkpoint}
    if chosen.crop:
        of_pose |= {"crop_width": chosen.crop[0], "crop_height": chosen.crop[1]}
    common = {name: getattr(chosen, name) for name in ("backbone", "device", "dtype")}
    settings = load_settings(None, **common, pose=of_pose)
    try:
        with tempfile.TemporaryDirectory(prefix="diffsight-bench-") as folder:
            took = asyncio.run(
                measure(
                    settings,
                    Path(folder),
                    images=chosen.images,
                    persons=chosen.persons,
                    side=chosen.side,
                    rounds=chosen.rounds,
                )
            )
    except DiffsightError as error:
        print(f"benchmarks.jobs: {error}", file=sys.stderr)
        return 2
    ratios = {
        way: statistics.median(
            seconds / job_seconds for seconds, job_seconds in zip(took[way], took["job"], strict=True)
        )
        for way in ("plain", "batched")
    }
    rates = {way: chosen.images / statistics.median(seconds) for way, seconds in took.items()}
    figures = {
        "job_over_plain_loop": ratios["plain"],
        "job_over_batched_loop": ratios["batched"],
        "job_images_per_second": rates["job"],
        "plain_loop_images_per_second": rates["plain"],
        "batched_loop_images_per_second": rates["batched"],
    }
    print_table(
        f"Keypoints of {chosen.persons} persons an image",
        ["way, on the same model", "images/s", "job over it"],
        [
            ["one image at a time, person by person", f"{rates['plain']:.1f}", f"{ratios['plain']:.2f}"],
            ["one image at a time, its persons in a batch", f"{rates['batched']:.1f}", f"{ratios['batched']:.2f}"],
            ["job", f"{rates['job']:.1f}", "1.00"],
        ],
        [f"{chosen.images} images, {chosen.rounds} rounds, {chosen.backbone}; every image is new"],
    )
    write_figures(chosen.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
