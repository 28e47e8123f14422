"""Every task once at full size, as a user would run it: make checkpoints, add them, serve them, send requests.

    make full-size                                   40 GB of disk, 24 GB of memory, about an hour on two cores
    python -m benchmarks._full_size --small          the same steps with small networks, in minutes

Random weights in the published layouts replace the published ones: sizes, shapes and formats are the same, but the
answers mean nothing. Each checkpoint is made in a process of its own, added with `diffsight models add`, and deleted.
Then one `diffsight serve` with no setting except its folders loads them, and each task is called twice: the first
request includes a load if the model did not fit beside the others. Memory is that of the server's process; for a step
it is the maximum that Linux recorded since the step began.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from backbones.free_memory import available_host_bytes
from benchmarks._table import arguments, write_figures
from tests.service.models.small_catalogue import FULL, KINDS, SMALL, write_original

SCRIPT = Path(sys.executable).with_name("diffsight")
DISK_BYTES, MEMORY_BYTES = 40 * 10**9, 20 * 10**9
_SMALL_SETTINGS = {
    "DIFFSIGHT_POSE__CROP_WIDTH": "96",
    "DIFFSIGHT_POSE__CROP_HEIGHT": "128",
    "DIFFSIGHT_FEW_SHOT__IMAGE_SIZE": "64",
}


class Failed(Exception):
    """A step that failed: its name and its output."""


def encode_image(height: int, width: int, channels: int) -> str:
    """A PNG in base64: noise in colours, or a square mask."""
    if channels == 1:
        pixels = np.zeros((height, width), np.uint8)
        pixels[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    else:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def requests(side: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Route and body of each task; images are `side` pixels high and a third wider."""
    width = side * 4 // 3
    image, mask = encode_image(side, width, 3), encode_image(side, width, 1)
    box = [width // 4, side // 8, width // 3, side * 3 // 4]
    supports = {"support_images": [image], "support_masks": [mask]}
    schedule = {"n_samples": [2], "to_keep": [1]}
    return {
        "features": ("/v1/features", {"image": image, "timesteps": [100]}),
        "depth": ("/v1/depth", {"image": image}),
        "segmentation": ("/v1/segmentation", {"image": image}),
        "referring": ("/v1/segmentation/referring", {"image": image, "expressions": ["the left one"]}),
        "pose": ("/v1/pose", {"image": image, "boxes": [box]}),
        "few-shot": ("/v1/segmentation/few-shot", {"image": image, **supports}),
        "zero-shot": ("/v1/classify/zero-shot", {"image": image, "labels": ["cat", "dog"], "schedule": schedule}),
    }


def run_step(what: str, command: list[str], seconds: float, **environment: str) -> tuple[float, int]:
    """Run a command to its end. Returns its seconds and its maximum memory in bytes. Raises Failed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        try:
            peak = _wait(running, started + seconds)
        except TimeoutError:
            running.kill()
            running.wait()
            raise Failed(f"{what} took more than {seconds:.0f} seconds") from None
        output.seek(0)
        if running.returncode:
            raise Failed(f"{what} failed:\n{output.read().decode(errors='replace')[-2000:]}")
    return time.perf_counter() - started, peak


def _wait(running: subprocess.Popen[bytes], deadline: float) -> int:
    """The process's own maximum of memory, read while it runs. Raises TimeoutError."""
    peak = 0
    while running.poll() is None:
        peak = max(peak, memory_of(running.pid)[0])
        if time.perf_counter() > deadline:
            raise TimeoutError
        time.sleep(0.2)
    return peak


def memory_of(process: int) -> tuple[int, int]:
    """Bytes of a process: the maximum since the last `forget_peak`, and now; zeros if it has ended."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0, 0
    sizes = dict(re.findall(r"^(VmHWM|VmRSS):\s+(\d+) kB", text, re.MULTILINE))
    return 1024 * int(sizes.get("VmHWM", 0)), 1024 * int(sizes.get("VmRSS", 0))


def forget_peak(process: int) -> None:
    """Reset the maximum of a process's memory to its current memory, if the system allows this."""
    with suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


def add_models(folder: Path, *, small: bool, seconds: float) -> list[dict[str, Any]]:
    """Make, add and delete one checkpoint after the other. Returns a row for each."""
    rows = []
    for kind in KINDS:
        making = [sys.executable, "-m", "benchmarks._full_size", "--write", kind, "--folder", str(folder)]
        made, _ = run_step(f"making {kind}", [*making, *(["--small"] if small else [])], seconds)
        place = (folder / "places" / kind).read_text()
        command = [str(SCRIPT), "models", "add", f"{kind}={place}", "--models-folder", str(folder / "models")]
        added, peak = run_step(f"adding {kind}", [*command, *(["--any-size"] if small else [])], seconds)
        shutil.rmtree(folder / "originals")
        stored = sum(file.stat().st_size for file in (folder / "models" / kind).rglob("*") if file.is_file())
        rows.append({"model": kind, "bytes": stored, "made": made, "added": added, "add_peak": peak})
        print(f"{kind}: made in {made:.0f} s, added in {added:.0f} s, {stored / 1e9:.2f} GB", flush=True)
    return rows


def write_one(kind: str, folder: Path, *, small: bool) -> None:
    """Write the checkpoint of one kind, and its path."""
    (folder / "places").mkdir(parents=True, exist_ok=True)
    (folder / "originals").mkdir(exist_ok=True)
    place = write_original(kind, folder / "originals", SMALL if small else FULL)
    (folder / "places" / kind).write_text(str(place))


@contextmanager
def serving(folder: Path, *, small: bool, seconds: float) -> Iterator[tuple[httpx2.Client, int, float]]:
    """A ready server: a client, its process, and the seconds of its start. Raises Failed."""
    environment = os.environ | {
        "DIFFSIGHT_MODELS_FOLDER": str(folder / "models"),
        "DIFFSIGHT_DATA_FOLDER": str(folder / "data"),
        "DIFFSIGHT_LIMITS__DEADLINE_SECONDS": str(seconds),
        **(_SMALL_SETTINGS if small else {}),
    }
    log = folder / "serve.log"
    started = time.perf_counter()
    with log.open("wb") as opened:
        command = [str(SCRIPT), "serve", "--port", "0", "--device", "cpu"]
        server = subprocess.Popen(command, stdout=opened, stderr=subprocess.STDOUT, env=environment)
    try:
        address = None
        while address is None or not _is_ready(address):
            if server.poll() is not None or time.perf_counter() - started > seconds:
                raise Failed(f"the server was not ready:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
            address_line = re.search(r"diffsight: (http://\S+)", log.read_text(errors="replace"))
            address = address_line and address_line[1]
        with httpx2.Client(base_url=address, timeout=seconds) as client:
            yield client, server.pid, time.perf_counter() - started
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/health/ready", timeout=10).status_code == 200
    except httpx2.TransportError:
        return False


def ask_all(client: httpx2.Client, process: int, side: int) -> list[dict[str, Any]]:
    """Call every task twice. Returns a row for each request. Raises Failed for a status other than 200."""
    rows = []
    for task, (route, body) in requests(side).items():
        for turn in ("first", "second"):
            forget_peak(process)
            started = time.perf_counter()
            answer = client.post(route, json=body)
            seconds = time.perf_counter() - started
            if answer.status_code != 200:
                raise Failed(f"{task} was answered {answer.status_code}: {answer.text[:500]}")
            peak, resting = memory_of(process)
            stages = answer.json()["timing"]["seconds"]
            rows.append(
                {"task": task, "turn": turn, "seconds": seconds, "peak": peak, "resting": resting, "stages": stages}
            )
            print(f"{task}, {turn} request: {seconds:.2f} s", flush=True)
    return rows


def check_machine(folder: Path) -> None:
    """Raises Failed if there is not enough free disk or memory for full size."""
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise Failed(f"{folder} has {free / 1e9:.0f} GB free, full size takes {DISK_BYTES / 1e9:.0f}: give --folder")
    if (memory := available_host_bytes()) < MEMORY_BYTES:
        raise Failed(f"{memory / 1e9:.0f} GB of memory are free, full size takes {MEMORY_BYTES / 1e9:.0f}")


def tables(added: list[dict[str, Any]], loaded: list[dict[str, Any]], requested: list[dict[str, Any]]) -> list[str]:
    """The two tables in Markdown. loaded: the models of GET /v1/models at the end."""
    by_id = {model["id"]: model for model in loaded}
    lines = ["| model | files | `models add` | its peak | load | loads |", "|---|---|---|---|---|---|"]
    for row in added:
        model = by_id[row["model"]]
        lines.append(
            f"| `{row['model']}` | {row['bytes'] / 1e9:.2f} GB | {row['added']:.0f} s | {row['add_peak'] / 1e9:.1f} GB "
            f"| {model['load_seconds']:.1f} s | {model['loads']} |"
        )
    lines += ["", "| task | request | seconds | by stage | peak | resting |", "|---|---|---|---|---|---|"]
    for row in requested:
        stages = ", ".join(f"{name} {value:.2f}" for name, value in row["stages"].items() if value >= 0.005)
        lines.append(
            f"| {row['task']} | {row['turn']} | {row['seconds']:.2f} | {stages} | {row['peak'] / 1e9:.2f} GB "
            f"| {row['resting'] / 1e9:.2f} GB |"
        )
    return lines


def measure(folder: Path, *, small: bool, seconds: float) -> dict[str, Any]:
    """Run all steps in an existing folder. Raises Failed."""
    if not small:
        check_machine(folder)
    added = add_models(folder, small=small, seconds=seconds)
    with serving(folder, small=small, seconds=seconds) as (client, process, start):
        peak, resting = memory_of(process)
        print(f"ready after {start:.0f} s, {resting / 1e9:.2f} GB, {peak / 1e9:.2f} GB at most", flush=True)
        requested = ask_all(client, process, 64 if small else 480)
        loaded = client.get("/v1/models").json()["models"]
    figures = {"start_seconds": start, "start_peak_bytes": peak, "start_resting_bytes": resting}
    return {"added": added, "asked": requested, "loaded": loaded, "figures": figures}


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--small", action="store_true", help="small networks, to try the script")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one, deleted at the end")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of the longest step")
    parser.add_argument("--write", choices=KINDS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.write:
        write_one(chosen.write, chosen.folder, small=chosen.small)
        return 0
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="full-size-") as folder:
        try:
            measured = measure(Path(folder), small=chosen.small, seconds=chosen.seconds)
        except Failed as error:
            print(f"full-size: {error}", file=sys.stderr)
            return 1
    print("\n".join(tables(measured["added"], measured["loaded"], measured["asked"])))
    write_figures(chosen.json, measured["figures"], added=measured["added"], asked=measured["asked"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
