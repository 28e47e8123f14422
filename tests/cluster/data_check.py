"""A job on two nodes whose command is killed once and whose second node is killed hard, against a job of one server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from service.cluster.parts import Order, PartFolder
from service.jobs.database import default_url
from service.jobs.formats.export import able_formats, text_pieces
from service.jobs.records import Job
from service.jobs.store import JobStore
from service.tasks import TASKS, find_task
from tests.cluster.local_cluster import LocalCluster, environment, two_nodes
from tests.soak.jobs import TOLERANCE_PIXELS, compare, write_data_set

_SECONDS = 1800.0
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def check_data(folder: Path, images: int, part: int) -> str:
    """The figures in one line. Raises AssertionError if a check fails."""
    pictures = folder / "pictures"
    pictures.mkdir()
    file = write_data_set(pictures, images, 0)
    out = folder / "out"
    with two_nodes(folder, {}) as cluster:
        options = ["--ray", cluster.address, "--ray-part", str(part), "--ray-actors", "2"]
        command = [
            sys.executable,
            "-m",
            "diffsight",
            "annotate",
            str(file),
            "--task",
            "pose",
            "--out",
            str(out),
            *options,
        ]
        of_command = _run_and_kill(command, out, count_images(part, images // 4))
        of_node = _run_and_lose(command, out, cluster, count_images(part, images // 2))
    alone = [*command[: -len(options)][:-1], str(folder / "alone.jsonl")]
    subprocess.run(alone, env=_environment(folder / "alone"), check=True)
    return (
        f"{images} images over two actors, the command killed after {of_command} parts and a node after {of_node}: "
        f"{compare_with_server(out, folder, images)}"
    )


def compare_with_server(out: Path, folder: Path, images: int) -> str:
    """Both jobs have every image once, the same points, and the same in every form."""
    results = PartFolder(out)
    order = results.read_order()
    assert order is not None
    records = list(results.records(order.parts))
    assert [record.position for record in records] == list(range(images)), f"{len(records)} results"
    assert len({record.name for record in records}) == images
    lines = [{"image_name": record.name, **(record.result or {})} for record in records]
    alone = [json.loads(line) for line in (folder / "alone.jsonl").read_text().splitlines()]
    largest, _ = compare(lines, alone, undecided=0.0)
    store = JobStore(default_url(folder / "alone/data"))
    try:
        forms = compare_forms(results, order, store)
    finally:
        store.close()
    return f"exactly {images} results, none twice, largest difference {largest:.6f} pixels, {forms} forms alike"


def compare_forms(results: PartFolder, order: Order, store: JobStore) -> int:
    """The number of forms of both jobs: equal texts except for the last digits of numbers."""
    (job,) = store.latest()
    task = find_task(TASKS, order.task)
    assert task is not None
    forms = able_formats(task.exports)
    of_cluster = results.job(order, 0)
    for form in forms:
        cluster_files = read_form(form, of_cluster, lambda: results.records(order.parts))
        server_files = read_form(form, job, lambda: store.records(job.id))
        assert cluster_files.keys() == server_files.keys(), form
        for name, text in cluster_files.items():
            assert _NUMBER.sub("#", text) == _NUMBER.sub("#", server_files[name]), f"{form}: {name}"
            first, second = (np.array(_NUMBER.findall(content), dtype=float) for content in (text, server_files[name]))
            assert np.allclose(first, second, rtol=1e-3, atol=TOLERANCE_PIXELS), f"{form}: {name}"
    return len(forms)


def read_form(form: str, job: Job, records: Callable[[], object]) -> dict[str, str]:
    """The texts of a form by the names of their files."""
    data = b"".join(text_pieces(form, job, records))  # type: ignore[arg-type]
    if not data.startswith(b"PK"):
        return {form: data.decode()}
    with ZipFile(BytesIO(data)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def count_images(part: int, images: int) -> int:
    """The number of parts that hold so many images."""
    return max(1, images // part)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, **environment(folder, {})}


def _parts(out: Path) -> int:
    return len(list(out.glob("results/*/[0-9]*.parquet")))


def _run_and_kill(command: list[str], out: Path, parts: int) -> int:
    """Start the command, and kill it hard when so many parts are there. Returns the parts then."""
    process = subprocess.Popen(command)
    _wait(process, out, parts)
    process.kill()
    process.wait()
    return _parts(out)


def _run_and_lose(command: list[str], out: Path, cluster: LocalCluster, parts: int) -> int:
    """Run the command to its end, and kill the second node when so many parts are there. Returns the parts then."""
    process = subprocess.Popen(command)
    try:
        _wait(process, out, parts)
        cluster.kill_node()
        part_names = _parts(out)
        assert process.wait(_SECONDS) == 0, "the command failed after its node was lost"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
    return part_names


def _wait(process: subprocess.Popen[bytes], out: Path, parts: int) -> None:
    started = time.monotonic()
    while _parts(out) < parts:
        assert process.poll() is None, "the command ended too early"
        assert time.monotonic() - started < _SECONDS, "the job does not go on"
        time.sleep(0.1)
