"""The jobs of one server: a store that opens beside the backbone, and the error if it cannot."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from service.errors import NotReady
from service.jobs.leftovers import receiving_lock
from service.jobs.serving import Jobs
from service.jobs.uploads import uploads_folder
from service.settings.loader import load_settings
from service.state import open_state
from service.tasks import TASKS


def test_there_is_no_store_before_the_start_and_one_inside(tmp_path: Path) -> None:
    jobs = Jobs(open_state(load_settings(data_folder=tmp_path), TASKS))

    async def story() -> None:
        jobs.notify()  # harmless without a runner
        with pytest.raises(NotReady, match="not started"):
            await jobs.store()
        async with jobs.running():
            store = await jobs.store()
            assert await asyncio.to_thread(store.latest) == []

    asyncio.run(story())
    assert (tmp_path / "jobs.db").is_file()


def test_a_database_that_cannot_be_opened_is_reported_to_each_request(tmp_path: Path) -> None:
    settings = load_settings(data_folder=tmp_path, jobs={"database": "sqlite:////nowhere/at/all/jobs.db"})
    jobs = Jobs(open_state(settings, TASKS))

    async def story() -> None:
        async with jobs.running():
            for _ in range(2):
                with pytest.raises(NotReady, match="has no jobs"):
                    await jobs.store()

    asyncio.run(story())


def test_a_database_that_comes_later_is_opened_then(tmp_path: Path) -> None:
    settings = load_settings(data_folder=tmp_path, jobs={"database": f"sqlite:///{tmp_path}/later/jobs.db"})
    jobs = Jobs(open_state(settings, TASKS), retry_seconds=0)

    async def story() -> None:
        async with jobs.running():
            with pytest.raises(NotReady, match="has no jobs"):
                await jobs.store()
            (tmp_path / "later").mkdir()
            store = None
            while store is None:
                with suppress(NotReady):
                    store = await jobs.store()
                await asyncio.sleep(0)
            assert await asyncio.to_thread(store.latest) == []

    asyncio.run(story())


def test_two_servers_on_one_folder_share_its_jobs_and_delete_nothing_that_the_other_receives(tmp_path: Path) -> None:
    settings = load_settings(data_folder=tmp_path)
    first, second = (Jobs(open_state(settings, TASKS)) for _ in range(2))
    folder = uploads_folder(settings)

    async def story() -> None:
        async with first.running():
            store = await first.store()
            with receiving_lock(folder, "a" * 16):
                half = folder / f".{'a' * 16}.0123456789ab.part"
                half.write_bytes(b"half")
                (folder / ".b.0123456789ab.part").write_bytes(b"of a process that was killed")
                async with second.running():
                    other = await second.store()
                    while (folder / ".b.0123456789ab.part").exists():
                        await asyncio.sleep(0)
                    assert half.read_bytes() == b"half"
                    job = store.add("features", {}, {"kind": "zip", "address": "a.zip"})
                    assert other.get(job.id) == job
                    assert store.claim("first", 100.0) is not None
                    assert other.claim("second", 100.0) is None
                    store.release(job.id, "first")
                    assert other.claim("second", 100.0) is not None

    asyncio.run(story())
