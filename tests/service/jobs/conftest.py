"""Databases of both kinds: a SQLite file, and a PostgreSQL server that is started for the run."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.jobs.store import JobStore

_FORGET = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for this run, with fsync on: kill tests use it."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    on_path = shutil.which("initdb")
    if not folders and on_path is None:
        assert "CI" not in os.environ, "CI must have PostgreSQL: apt-get install postgresql"
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    binaries = Path(folders[-1]) if folders else Path(str(on_path)).parent
    with tempfile.TemporaryDirectory(prefix="diffsight-pg-") as folder:
        as_postgres = _FORGET if os.geteuid() == 0 else []  # PostgreSQL refuses to run as root
        if as_postgres:
            shutil.chown(folder, "postgres", "postgres")

        def run(*command: str) -> None:
            # With pipes the server would hold them open.
            done = [*as_postgres, str(binaries / command[0]), *command[1:]]
            subprocess.run(done, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        data = f"{folder}/data"
        run("initdb", "-U", "t", "-A", "trust", "-N", "-D", data)
        run("pg_ctl", "-w", "-D", data, "-l", f"{folder}/log", "-o", f"-c listen_addresses='' -k {folder}", "start")
        try:
            yield f"postgresql+psycopg://t@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    from sqlalchemy import create_engine, text

    url: str = request.getfixturevalue("postgres_url")
    yield url
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ("results", "items", "jobs", "jobs_version"):
            connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
    engine.dispose()


@pytest.fixture
def store(database: str) -> Iterator[JobStore]:
    opened = JobStore(database)
    yield opened
    opened.close()


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> None:
    """Small pictures, each different, in two folders."""
    drawn = np.random.default_rng(seed)
    for index in range(count):
        file = BytesIO()
        Image.fromarray(drawn.integers(0, 255, (24, 20, 3), dtype=np.uint8)).save(file, "PNG")
        path = folder / ("odd" if index % 2 else "even") / f"{index // 2:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield store
    store.close()
