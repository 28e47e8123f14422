"""Jobs: their start, their progress over broken connections, and their results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diffsight_client import Client, Conflict, JobFailed, Step, Unreachable
from diffsight_client.job_calls import RECONNECTIONS
from tests.clients.python.diffsight_client.conftest import Reply, Script
from tests.conftest import Server

JOB = json.loads((Path(__file__).parent / "job.json").read_text())


def event(name: str, **changes: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({**JOB, **changes})}\n\n".encode()


def test_a_job_from_a_folder_to_its_results(server: Server, png: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(png)
    (folder / "more" / "b.png").write_bytes(png + b" ")
    (folder / "c.png").write_bytes(b"no picture")
    steps: list[Step] = []
    with Client(server.url) as client:
        job = client.begin_job("depth", folder, parameters={"maps": False}, progress=steps.append)
        details = client.job(job.id).wait(progress=steps.append)
        assert (details.done, details.failed, details.total) == (2, 1, 3)
        assert job.refresh().status == "done"
        assert [result["image_name"] for result in job.results()] == ["a.png", "more/b.png"]
        (failed,) = job.failures()
        assert failed["image_name"] == "c.png"
        assert failed["error"]
        path = job.download(tmp_path / "results.jsonl", progress=steps.append)
        assert len(path.read_text().splitlines()) == 2
        assert {step.stage for step in steps} == {"upload", "wait", "download"}
        assert steps[-1].done == steps[-1].total == path.stat().st_size
        with pytest.raises(Conflict):
            job.pause()
        assert job.retry().status == "queued"
        assert job.wait().failed == 1
        job.delete()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "results.jsonl"]


def test_a_broken_connection_is_made_again(script: Script) -> None:
    script.answer(JOB)
    script.replies += [
        Reply(200, event("progress", done=1), cut=10),
        Reply(200, event("answer", status="done", done=3, total=3)),
    ]
    waits: list[float] = []
    with Client(script.url, sleep=waits.append) as client:
        job = client.job(JOB["id"])
        seen = [state.done for state in job.watch()]
    assert seen == [1, 3]
    assert job.details.status == "done"
    assert waits == [1.0]


def test_it_is_given_up_in_the_end(script: Script) -> None:
    script.answer(JOB)
    script.replies += [Reply(200, b"")] * (RECONNECTIONS + 1)
    waits: list[float] = []
    with Client(script.url, sleep=waits.append) as client, pytest.raises(Unreachable):
        client.job(JOB["id"]).wait()
    assert waits == [1, 2, 4, 8, 15, 15, 15, 15]


def test_a_job_that_is_wrong_as_a_whole_raises(script: Script) -> None:
    script.answer(JOB)
    script.replies.append(Reply(200, event("answer", status="failed", error="the source is gone")))
    with Client(script.url) as client, pytest.raises(JobFailed, match="the source is gone") as raised:
        client.job(JOB["id"]).wait()
    assert raised.value.details.status == "failed"


def test_a_download_that_breaks_leaves_nothing(script: Script, tmp_path: Path) -> None:
    script.answer(JOB)
    script.replies.append(Reply(200, b"{}\n", cut=10))
    with Client(script.url) as client, pytest.raises(Unreachable):
        client.job(JOB["id"]).download(tmp_path / "results.jsonl")
    assert list(tmp_path.iterdir()) == []
