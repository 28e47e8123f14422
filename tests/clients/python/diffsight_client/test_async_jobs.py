"""Jobs of the asynchronous client."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from diffsight_client import AsyncClient, AsyncJob, Conflict, Job, Step, Unreachable
from tests.clients.python.diffsight_client.conftest import Reply, Script
from tests.clients.python.diffsight_client.test_jobs import JOB, event
from tests.conftest import Server


def test_both_have_the_same_methods() -> None:
    assert {name for name in dir(Job) if name[0] != "_"} == {name for name in dir(AsyncJob) if name[0] != "_"}


def test_a_job_from_files_to_its_results(server: Server, png: bytes, tmp_path: Path) -> None:
    steps: list[Step] = []

    async def run() -> None:
        async with AsyncClient(server.url) as client:
            job = await client.begin_job("features", [png, png[:200]], progress=steps.append)
            details = await (await client.job(job.id)).wait(progress=steps.append)
            assert (details.done, details.failed) == (1, 1)
            assert (await job.refresh()).status == "done"
            assert [result["image_name"] async for result in job.results()] == ["image-1"]
            assert len([failure async for failure in job.failures()]) == 1
            path = await job.download(tmp_path / "results.jsonl", progress=steps.append)
            assert json.loads(path.read_text())["image_name"] == "image-1"
            with pytest.raises(Conflict):
                await job.resume()
            await job.retry()
            assert (await job.wait()).failed == 1
            await job.delete()

    asyncio.run(run())
    assert {step.stage for step in steps} == {"upload", "wait", "download"}


def test_a_broken_connection_is_made_again_and_a_broken_download_leaves_nothing(script: Script, tmp_path: Path) -> None:
    script.answer(JOB)
    script.replies += [
        Reply(200, event("progress", done=1), cut=10),
        Reply(200, event("answer", status="done", done=3, total=3)),
        Reply(200, b"{}\n", cut=10),
    ]
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        async with AsyncClient(script.url, sleep=sleep) as client:
            job = await client.job(JOB["id"])
            assert [state.done async for state in job.watch()] == [1, 3]
            with pytest.raises(Unreachable):
                await job.download(tmp_path / "results.jsonl")

    asyncio.run(run())
    assert waits == [1.0]
    assert list(tmp_path.iterdir()) == []
