"""`make soak-jobs`: a job on a real server that is killed hard again and again, against one that runs undisturbed.

python -m tests.soak.jobs --images 2000 --kills 5 --seed 0

Each picture is a rendered scene; a COCO file has the boxes of its persons. The last line has the figures; the
status is 1 if a result is missing, was computed again after it was stored, or differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from tqdm import tqdm

SCENES = Path(__file__).parents[2] / "training/world/held_out/scenes"
# A small network of SDPose's own layout, for while the embedded backbone has no pose network. Its weights are random:
# some peaks are as flat as noise, and their place within a pixel depends on the last digit of a float.
RANDOM = Path(__file__).parents[1] / "conformance/fixtures/sdpose/wholebody/checkpoint"
UNDECIDED_SHARE = 0.02
TOLERANCE_PIXELS = 0.01
TOLERANCE_SCORE = 1e-3
_START_SECONDS = 600.0


def write_data_set(folder: Path, count: int, seed: int) -> Path:
    """Held-out rendered scenes with persons, each picture with noise of its own, and the COCO file of their boxes.

    The order of the file is not that of the names.
    """
    drawn = np.random.default_rng(seed)
    instances = json.loads((SCENES / "instances.json").read_text())
    persons: dict[int, list[list[float]]] = {}
    for person in instances["annotations"]:
        if person.get("num_keypoints"):
            persons.setdefault(person["image_id"], []).append(person["bbox"])
    scenes = [image for image in instances["images"] if image["id"] in persons]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(drawn.permutation(count).tolist(), "pictures", mininterval=2):
        scene = scenes[index % len(scenes)]
        with Image.open(SCENES / "images" / scene["file_name"]) as opened:
            pixels = np.asarray(opened.convert("RGB"), dtype=np.int16)
        noisy = np.clip(pixels + drawn.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8)
        name, at = f"{index:06d}.png", len(images) + 100
        Image.fromarray(noisy).save(folder / name, compress_level=1)
        images.append({"id": at, "file_name": name, "width": scene["width"], "height": scene["height"]})
        for bbox in persons[scene["id"]]:
            annotation = {"id": len(annotations) + 1, "image_id": at, "category_id": 1, "bbox": bbox, "iscrowd": 0}
            annotations.append({**annotation, "area": bbox[2] * bbox[3]})
    file = folder / "persons.json"
    categories = [{"id": 1, "name": "person"}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


class Server:
    """`diffsight serve` as a process of its own, started again and again over one data folder."""

    def __init__(self, data: Path, pictures: Path, backbone: str) -> None:
        self.database = data / "jobs.db"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DIFFSIGHT_")},
            "DIFFSIGHT_DATA_FOLDER": str(data),
            "DIFFSIGHT_BACKBONE": backbone,
            "DIFFSIGHT_JOBS__SOURCES": str(pictures),
            "DIFFSIGHT_JOBS__LEASE_SECONDS": "1",
            "DIFFSIGHT_JOBS__POLL_SECONDS": "0.2",
            "DIFFSIGHT_LOG_LEVEL": "error",
        }
        if backbone == str(RANDOM):
            self.environment |= {"DIFFSIGHT_POSE__CROP_WIDTH": "96", "DIFFSIGHT_POSE__CROP_HEIGHT": "128"}

    @contextmanager
    def running(self) -> Iterator[httpx2.Client]:
        """A client of the server when it is ready. It is killed at the end, hard."""
        command = [sys.executable, "-m", "diffsight", "serve", "--port", "0"]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+", process.stdout.readline())
            assert match is not None, "the server did not start"
            with httpx2.Client(base_url=match[0], timeout=60) as client:
                started = time.monotonic()
                while not is_ready(client):
                    assert time.monotonic() - started < _START_SECONDS, "the server does not get ready"
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.1)
                        raise AssertionError("the server ended")
                yield client
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def read_stored(self) -> dict[str, float]:
        """When each result was stored, by its key, read beside the server."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60) as connection:
            times = dict(connection.execute("SELECT key, created FROM results"))
        connection.close()
        return times


def is_ready(client: httpx2.Client) -> bool:
    """Whether the server listens and its backbone is warm."""
    try:
        return client.get("/health/ready").status_code == 200
    except httpx2.ConnectError:
        return False


def begin(client: httpx2.Client, file: Path) -> str:
    response = client.post("/v1/jobs", json={"task": "pose", "source": str(file)})
    assert response.status_code == 201, response.text
    job: str = response.json()["id"]
    return job


def watch(client: httpx2.Client, job: str, bar: tqdm[Any], until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The job as soon as `until` is true of it, or it has ended."""
    while True:
        now: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
        bar.update(now["done"] - bar.n)
        if until(now) or now["status"] in ("done", "failed"):
            return now
        time.sleep(0.05)


def run_disturbed(
    server: Server, file: Path, images: int, kills: int, seed: int
) -> tuple[dict[str, Any], list[Any], Any]:
    """The job at its end, its results and COCO file, after so many kills; nothing stored before one changes after."""
    drawn = random.Random(seed)
    job = ""
    seen: dict[str, float] = {}
    with tqdm(total=images, desc=f"killed {kills} times", mininterval=2) as bar:
        for at in sorted(drawn.randrange(images) for _ in range(kills)):
            with server.running() as client:
                job = job or begin(client, file)
                now = watch(client, job, bar, lambda now, at=at: now["done"] >= at)  # type: ignore[misc]
                assert now["status"] != "failed", now["error"]
                time.sleep(drawn.uniform(0, 0.3))  # anywhere within a transaction or a batch
            after = server.read_stored()
            again = [key for key, when in seen.items() if after.get(key) != when]
            assert not again, f"{len(again)} results were lost or stored again"
            seen = after
        with server.running() as client:
            job = job or begin(client, file)
            end = watch(client, job, bar, lambda _: False)
            lines, coco = results(client, job)
    after = server.read_stored()
    again = [key for key, when in seen.items() if after.get(key) != when]
    assert not again, f"{len(again)} results were lost or stored again"
    assert len(after) == images, f"{len(after)} results are stored for {images} images"
    return end, lines, coco


def run_undisturbed(server: Server, file: Path, images: int) -> tuple[dict[str, Any], list[Any], Any]:
    """The same of a job that runs undisturbed."""
    with server.running() as client, tqdm(total=images, desc="undisturbed", mininterval=2) as bar:
        job = begin(client, file)
        end = watch(client, job, bar, lambda _: False)
        return end, *results(client, job)


def results(client: httpx2.Client, job: str) -> tuple[list[Any], Any]:
    """The lines, and the COCO file."""
    url = f"/v1/jobs/{job}/results"
    lines = [json.loads(line) for line in client.get(url).text.splitlines()]
    return lines, client.get(url, params={"format": "coco"}).json()


def compare(first: list[Any], other: list[Any], *, undecided: float) -> tuple[float, float]:
    """The largest difference in pixels of points that count, and the share of those that differ by more than allowed.

    undecided: the share that may. Raises AssertionError if more do, or anything else differs.
    """
    differences, scores = [], []
    for item, other_item in zip(first, other, strict=True):
        assert item["image_name"] == other_item["image_name"]
        for person, same in zip(item["persons"], other_item["persons"], strict=True):
            assert person["bbox"] == same["bbox"]
            points = np.array([person["keypoints"], same["keypoints"]], dtype=np.float64)
            differences.append(np.abs(points[0] - points[1]).max(axis=1))
            scores.append(np.abs(np.subtract(person["keypoint_scores"], same["keypoint_scores"])))
    score = float(np.concatenate(scores).max())
    assert score <= TOLERANCE_SCORE, f"scores differ by {score:.6f}"
    distances = np.concatenate(differences)
    share = float((distances > TOLERANCE_PIXELS).mean())
    assert share <= undecided, f"{share:.4%} of the points differ, by up to {distances.max():.4f} pixels"
    return float(distances[distances <= TOLERANCE_PIXELS].max()), share


def soak(folder: Path, *, images: int, kills: int, seed: int, backbone: str) -> str:
    """The figures in one line. Raises AssertionError if something is wrong."""
    pictures = folder / "pictures"
    pictures.mkdir()
    file = write_data_set(pictures, images, seed)
    (end, lines, coco), (end_, lines_, coco_) = (
        run_disturbed(Server(folder / "killed", pictures, backbone), file, images, kills, seed),
        run_undisturbed(Server(folder / "alone", pictures, backbone), file, images),
    )
    for job in (end, end_):
        counts = job["status"], job["total"], job["done"], job["failed"], job["reused"]
        assert counts == ("done", images, images, 0, 0), (counts, job["error"], job["failures"])
    assert len(lines) == images
    names = [image["file_name"] for image in json.loads(file.read_text())["images"]]
    assert [line["image_name"] for line in lines] == names
    assert [image["file_name"] for image in coco["images"]] == names
    order = [
        [(annotation["id"], annotation["image_id"], annotation["bbox"]) for annotation in answer["annotations"]]
        for answer in (coco, coco_)
    ]
    assert order[0] == order[1]
    largest, share = compare(lines, lines_, undecided=UNDECIDED_SHARE if backbone == str(RANDOM) else 0.0)
    undecided = f"; {share:.3%} of the points undecided by random weights" if share else ""
    return (
        f"soak-jobs: {images} images, {kills} kills: {images} results, none twice, COCO in the same order, "
        f"largest difference {largest:.6f} pixels{undecided}"
    )


def default_backbone() -> str:
    """The embedded backbone if a pose network ships for it, else the small one with random weights."""
    from heads.sdpose.pose import POCKET as SHIPPED

    return "pocket" if SHIPPED.is_dir() else str(RANDOM)


def main() -> int:
    """0 if there is no fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.jobs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=2000, help="pictures of the job")
    parser.add_argument("--kills", type=int, default=5, help="how often the server is killed")
    parser.add_argument("--seed", type=int, default=0, help="other pictures, killed elsewhere")
    parser.add_argument("--backbone", default=default_backbone(), help="one that has a pose network")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="diffsight-soak-") as folder, suppress(KeyboardInterrupt):
        try:
            print(
                soak(
                    Path(folder),
                    images=arguments.images,
                    kills=arguments.kills,
                    seed=arguments.seed,
                    backbone=arguments.backbone,
                )
            )
            return 0
        except AssertionError as error:
            print(f"soak-jobs: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
