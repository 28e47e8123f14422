"""The demonstration of `diffsight demo`: a real server, real files, every route, and the results."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backbones.errors import DiffsightError
from diffsight import pictures
from diffsight.demo_scenes import TimedClient, find_by_example, look_at_scenes, png, which_thing
from training.datasets.digits import DIGIT_NAMES, Digits, load_held_out_digits, load_training_digits

TEMPLATE = "a handwritten {}"
# Blocks, timestep and pooling that suit `pocket`: cross-validated on training digits alone.
FEATURES = {
    "blocks": ["mid_block", "up_blocks.1.attentions.1", "up_blocks.2.attentions.1"],
    "timesteps": ["20"],
    "pool_size": "2",
}
CLIENTS = 8
START_SECONDS = 180.0


@dataclass
class DemoFigures:
    """The measurements. labels: (N,), the truth. posteriors: (N, 10), rows summing to 1. times: seconds by route.

    scenes_right, scenes: of the scenes with one thing. drawn: pictures with their captions, by file name, row by row.
    """

    labels: NDArray[np.int64]
    posteriors: NDArray[np.float64]
    feature_accuracy: float = 0.0
    pixel_accuracy: float = 0.0
    scenes_right: int = 0
    scenes: int = 0
    drawn: dict[str, list[list[tuple[str, NDArray[np.uint8]]]]] = field(default_factory=dict)
    zero_shot_seconds: float = 0.0
    rows: int = 0
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        return float((self.posteriors.argmax(axis=1) == self.labels).mean())


def demonstrate(out: Path, images: int, fitted_on: int, scenes: int) -> DemoFigures:
    """Run the whole demonstration and write its pictures and inputs to `out`.

    images: how many held-out digits to classify. fitted_on: how many training digits the classifier on features sees.
    scenes: number of held-out scenes to classify.
    Raises DiffsightError if the server does not start or answers with an error.
    """
    console = Console()
    digits = load_held_out_digits()
    chosen = np.random.default_rng(0).permutation(len(digits))[:images]
    files = write_files(digits, chosen, out / "images")
    console.print(f"{len(files)} handwritten digits that training never saw lie in [bold]{out / 'images'}[/]")
    with server(out / "server.log", console) as address:
        console.print(f"the server answers on {address}: its own documentation is at {address}/docs")
        outcome = asyncio.run(_conversation(address, digits, chosen, files, fitted_on, scenes, console))
    pictures.posteriors(out / "zero_shot.png", [digits.image(int(index)) for index in chosen], outcome, DIGIT_NAMES)
    pictures.confusion(out / "confusion.png", outcome.labels, outcome.posteriors.argmax(axis=1), DIGIT_NAMES)
    for name, rows in outcome.drawn.items():
        pictures.add_caption(out / name, rows)
    report(outcome, out, console, fitted_on)
    return outcome


def write_files(digits: Digits, chosen: NDArray[np.int64], folder: Path) -> list[Path]:
    """One picture file a digit, PNG and JPEG in turn; `chosen` are (N,) indices."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for place, index in enumerate(chosen.tolist()):
        name = f"{digits.source_indices[index]:04d}_{DIGIT_NAMES[digits.labels[index]]}"
        file = folder / f"{name}{'.jpg' if place % 2 else '.png'}"
        Image.fromarray(digits.image(index)).save(file, quality=95)
        files.append(file)
    return files


@contextmanager
def server(log: Path, console: Console) -> Iterator[str]:
    """The address of a server that is started here, and is stopped afterwards as by Ctrl-C."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as written:
        command = [sys.executable, "-m", "diffsight", "serve", "--port", str(port)]
        # The user's own API keys do not apply to this server, which only this machine can reach.
        environment = {**os.environ, "DIFFSIGHT_ACCESS__ALLOW_ANONYMOUS": "true"}
        process = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, env=environment)
        try:
            with console.status("starting the server: loading weights, warming up"):
                _wait_until_ready(process, address, log)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx2.Client() as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                tail = "\n".join(log.read_text().splitlines()[-5:])
                raise DiffsightError(f"the server stopped with {process.returncode}:\n{tail}", hint=f"see {log}")
            try:
                if client.get(f"{address}/health/ready").status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.2)
    raise DiffsightError(f"the server was not ready after {START_SECONDS:.0f} s", hint=f"see {log}")


async def _conversation(
    address: str,
    digits: Digits,
    chosen: NDArray[np.int64],
    files: Sequence[Path],
    fitted_on: int,
    scenes: int,
    console: Console,
) -> DemoFigures:
    outcome = DemoFigures(digits.labels[chosen], np.zeros((len(files), len(DIGIT_NAMES))))
    async with httpx2.AsyncClient(base_url=address, timeout=300) as client:
        caller = TimedClient(client, outcome.times)
        for route in ("/health/live", "/health/ready", "/v1/models", "/openapi.json"):
            await caller.get(route)
        with Progress(console=console) as progress:
            await _zero_shot(caller, files, outcome, progress)
            await _features(caller, digits, chosen, files, fitted_on, outcome, progress)
            outcome.scenes_right, outcome.scenes = await which_thing(caller, scenes, progress)
            outcome.drawn["scenes.png"] = await look_at_scenes(caller, progress)
            outcome.drawn["by_example.png"] = await find_by_example(caller, progress)
        refused = await caller.post("/v1/classify/zero-shot", expect=422, content=b"no picture", **_raw(["a", "b"]))
        console.print(f"a text file is refused with {refused['status']}: {refused['detail']}")
        await caller.get("/metrics")
    return outcome


async def _zero_shot(caller: TimedClient, files: Sequence[Path], outcome: DemoFigures, progress: Progress) -> None:
    """Every file over HTTP, in the three forms that the route takes, several clients at once."""
    task = progress.add_task("zero-shot classification", total=len(files))
    waiting = asyncio.Queue[tuple[int, Path]]()
    for item in enumerate(files):
        waiting.put_nowait(item)

    async def client() -> None:
        while not waiting.empty():
            place, file = waiting.get_nowait()
            form = (_multipart, _json, lambda file: {"content": file.read_bytes(), **_raw(DIGIT_NAMES)})[place % 3]
            answer = await caller.post("/v1/classify/zero-shot", **form(file))
            by_label = {entry["label"]: entry["probability"] for entry in answer["posterior"]}
            outcome.posteriors[place] = [by_label[name] for name in DIGIT_NAMES]
            outcome.rows += answer["rows"]
            progress.advance(task)

    started = time.perf_counter()
    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    outcome.zero_shot_seconds = time.perf_counter() - started


def _multipart(file: Path) -> dict[str, Any]:
    return {"files": {"image": file.read_bytes()}, "data": {"labels": list(DIGIT_NAMES), "templates": [TEMPLATE]}}


def _json(file: Path) -> dict[str, Any]:
    image = base64.b64encode(file.read_bytes()).decode()
    return {"json": {"image": image, "labels": list(DIGIT_NAMES), "templates": [TEMPLATE]}}


def _raw(labels: Sequence[str]) -> dict[str, Any]:
    return {"params": {"labels": list(labels), "templates": [TEMPLATE]}, "headers": {"Content-Type": "image/png"}}


async def _features(
    caller: TimedClient,
    digits: Digits,
    chosen: NDArray[np.int64],
    files: Sequence[Path],
    fitted_on: int,
    outcome: DemoFigures,
    progress: Progress,
) -> None:
    """Vectors of training and held-out digits over HTTP; a linear classifier on them, and one on raw pixels."""
    training = load_training_digits()
    seen = np.random.default_rng(1).permutation(len(training))[:fitted_on]
    encoded = [png(training.image(int(index))) for index in seen] + [file.read_bytes() for file in files]
    task = progress.add_task("features", total=len(encoded))
    vectors: list[list[float]] = []
    for at in range(0, len(encoded), 16):
        part = [("image", content) for content in encoded[at : at + 16]]
        vectors += (await caller.post("/v1/features", files=part, data=FEATURES))["vectors"]
        progress.advance(task, len(part))
    pixels = np.stack(
        [training.image(int(index)) for index in seen] + [digits.image(int(index)) for index in chosen]
    ).reshape(len(encoded), -1)
    for name, inputs in (("feature_accuracy", np.array(vectors)), ("pixel_accuracy", pixels.astype(np.float64))):
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        classifier.fit(inputs[:fitted_on], training.labels[seen])
        setattr(outcome, name, float(classifier.score(inputs[fitted_on:], digits.labels[chosen])))


def report(outcome: DemoFigures, out: Path, console: Console, fitted_on: int) -> None:
    """Print the routes that answered, where the pictures are, and, last, the accuracy."""
    table = Table(title="requests over HTTP", title_justify="left")
    for column in ("route", "answers", "median", "slowest"):
        table.add_column(column, justify="left" if column == "route" else "right")
    for route, times in outcome.times.items():
        table.add_row(route, str(len(times)), f"{np.median(times) * 1000:.0f} ms", f"{max(times) * 1000:.0f} ms")
    console.print(table)
    console.print(
        f"{outcome.rows} U-Net rows for {len(outcome.labels)} zero-shot answers in {outcome.zero_shot_seconds:.1f} s: "
        f"{outcome.rows / outcome.zero_shot_seconds:.0f} rows/s, {CLIENTS} clients at once"
    )
    drawn = ", ".join(str(out / name) for name in ("zero_shot.png", "confusion.png", *outcome.drawn))
    console.print(f"pictures: {drawn}", soft_wrap=True)
    accuracy = Table(title=f"accuracy on {len(outcome.labels)} held-out digits, ten classes", title_justify="left")
    accuracy.add_column("method")
    accuracy.add_column("labelled images", justify="right")
    accuracy.add_column("accuracy", justify="right")
    accuracy.add_row("zero-shot, /v1/classify/zero-shot", "none", f"{outcome.accuracy:.3f}")
    accuracy.add_row("linear on /v1/features", str(fitted_on), f"{outcome.feature_accuracy:.3f}")
    accuracy.add_row("linear on raw pixels, for comparison", str(fitted_on), f"{outcome.pixel_accuracy:.3f}")
    console.print(accuracy)
    console.print(f"which of ten things stands in a held-out scene: {outcome.scenes_right} of {outcome.scenes} right")
    console.print(f"zero-shot accuracy: {outcome.accuracy:.4f}")
    console.print("try it in the browser: `diffsight serve`, then http://127.0.0.1:8000/playground")
