"""`diffsight annotate` as a process of its own, which is killed while it works."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service.jobs.store import JobStore
from tests.diffsight.command import SCRIPT, diffsight, run
from tests.service.jobs.conftest import write_pictures

IMAGES = 48


class Command:
    """The same command line, again and again, on one database."""

    def __init__(self, database: str, source: Path, out: Path, *more: str) -> None:
        self.arguments = [str(SCRIPT), "annotate", str(source), "--task", "features", "--out", str(out), *more]
        self.environment = {
            **os.environ,
            "DIFFSIGHT_JOBS__DATABASE": database,
            "DIFFSIGHT_JOBS__LEASE_SECONDS": "0.5",
            "DIFFSIGHT_JOBS__IMAGES_AT_ONCE": "2",
            "DIFFSIGHT_ENGINE__TORCH_THREADS": "1",
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        return run(self.arguments, self.environment, 300)

    def kill_when(self, store: JobStore, results: int) -> None:
        """Start, and `kill -9` as soon as so many results are stored."""
        process = subprocess.Popen(
            self.arguments, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while store.count_results() < results:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
                raise AssertionError("ended before it could be killed")
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The lines of a run that nothing kills, in a database of its own."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_pictures(folder / "pictures", IMAGES)
    command = Command(f"sqlite:///{folder / 'alone.db'}", folder / "pictures", folder / "alone.jsonl")
    assert command.run().returncode == 0
    return [json.loads(line) for line in (folder / "alone.jsonl").read_text().splitlines()]


def test_killed_hard_it_goes_on_and_nothing_is_done_twice(
    database: str, store: JobStore, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    source = tmp_path / "pictures"
    write_pictures(source, IMAGES)
    command = Command(database, source, tmp_path / "out.jsonl")
    command.kill_when(store, 10)
    (job,) = store.latest()
    while job.leased_until > time.time():  # the dead process's lease
        time.sleep(0.05)
        job = store.get(job.id)
    before = {record.name: record.key for record in store.records(job.id)}
    counted = store.count_results()
    assert 10 <= counted < IMAGES
    assert len(before) == counted
    done = command.run()
    assert done.returncode == 0, done.stderr
    (job,) = store.latest()
    assert (job.status, job.total, job.done, job.failed) == ("done", IMAGES, IMAGES, 0)
    assert job.reused == counted
    assert store.count_results() == IMAGES
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    names = [str(path.relative_to(source)) for path in sorted(source.rglob("*.png"))]
    assert [line["image_name"] for line in lines] == names
    for line, expected in zip(lines, undisturbed, strict=True):
        assert line["vector"] == pytest.approx(expected["vector"], rel=1e-3, abs=1e-4)


def test_a_broken_image_fails_alone_and_equal_ones_are_done_once(tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    write_pictures(source, 4)
    (source / "twin.png").write_bytes((source / "even" / "00000.png").read_bytes())
    (source / "broken.png").write_bytes(b"no image at all")
    database = tmp_path / "jobs.db"
    command = Command(f"sqlite:///{database}", source, tmp_path / "out.jsonl")
    done = command.run()
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert message.startswith("diffsight: broken.png: ")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (4,)
    connection.close()


def test_parameters_that_no_image_can_have_fail_the_job_at_once(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 3)
    more = ("--set", "blocks=no_such_block")
    done = Command(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path / "pictures", tmp_path / "out.jsonl", *more).run()
    assert done.returncode == 2
    assert "no_such_block" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--task", "features"], "nowhere"),
        ([".", "--task", "nothing"], "one of depth"),
        ([".", "--task", "features", "--set", "pool=1"], "pool"),
        ([".", "--task", "features", "--format", "coco"], "cannot be exported as coco"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = diffsight("annotate", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
