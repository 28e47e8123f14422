"""The database of jobs: where it is, how it is opened, and how its tables are migrated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from backbones.errors import InvalidInput
from service.errors import StorageFailed

MIGRATIONS = Path(__file__).parent / "migrations"
# An arbitrary number: the lock means "the tables of diffsight are being created".
_MIGRATION_LOCK = 0x64696666
_SECONDS_TO_WAIT_FOR_A_LOCK = 60
_SECONDS_BETWEEN_COUNTS = 10.0


def default_url(data_folder: Path) -> str:
    """URL of the SQLite file in the data folder. Creates the folder."""
    data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{data_folder / 'jobs.db'}"


def open_database(url: str) -> Engine:
    """The engine of a database. With SQLite, transactions that write take the write lock at the start."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    engine = create_engine(parsed, connect_args={"timeout": _SECONDS_TO_WAIT_FOR_A_LOCK})

    @event.listens_for(engine, "connect")
    def _(connection: Any, __: Any) -> None:
        # Transactions are begun below: the driver's own way would take the write lock too late and fail for it.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writing") else "BEGIN")

    return engine


@contextmanager
def storage_failures() -> Iterator[None]:
    """Raise errors of the database (a full disk, a lock, a lost server) as StorageFailed."""
    try:
        yield
    except OperationalError as error:
        raise StorageFailed(
            f"the database of jobs could not store it: {str(error.orig).splitlines()[0]}",
            hint="tell the server's operator; then try again",
        ) from error


class ResultRoom:
    """The bytes that all jobs and their results may take. most_bytes: None sets no bound.

    They are counted at intervals, and the bytes that this process stores in between are added.
    """

    def __init__(self, most_bytes: int | None) -> None:
        self.most_bytes = most_bytes
        self._counted_at = -_SECONDS_BETWEEN_COUNTS
        self._bytes = 0

    def take(self, connection: Connection, more: int) -> None:
        """Take room for so many bytes. Raises InvalidInput if there is none."""
        if self.most_bytes is None or not more:
            return
        now = time.monotonic()
        if now - self._counted_at >= _SECONDS_BETWEEN_COUNTS:
            self._counted_at, self._bytes = now, count_stored_bytes(connection)
        if self._bytes + more > self.most_bytes:
            self._counted_at = -_SECONDS_BETWEEN_COUNTS
            raise InvalidInput(
                "max_result_bytes",
                f"all jobs and their results would take {self._bytes + more:,} bytes; {self.most_bytes:,} may be kept",
                hint="delete jobs whose results are fetched with DELETE /v1/jobs/{id}, then retry this one; or raise "
                "the server's setting jobs.max_result_bytes",
            )
        self._bytes += more


def count_stored_bytes(connection: Connection) -> int:
    """Bytes of all jobs and their results; with SQLite, bytes of the file without its free pages."""
    if connection.dialect.name == "sqlite":
        pages = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), pragma_freelist_count(), "
        return int(connection.execute(text(f"{pages} pragma_page_size()")).scalar_one())
    count = "SELECT (SELECT coalesce(sum(octet_length(result)), 0) FROM results) + "
    count += "(SELECT coalesce(sum(octet_length(parameters) + octet_length(source)), 0) FROM jobs)"
    return int(connection.execute(text(count)).scalar_one())


def migrate(connection: Connection) -> None:
    """Migrate the tables. If several processes start together, one migrates and the others wait."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
