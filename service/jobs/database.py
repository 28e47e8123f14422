"""The database of jobs: where it is, how it is opened, and how its tables are brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do: it stands for "the tables of diffsight are being made".
_MIGRATION_LOCK = 0x64696666
_SECONDS_TO_WAIT_FOR_A_LOCK = 60


def default_url(data_folder: Path) -> str:
    """The SQLite file in the folder of what callers make, which is created."""
    data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{data_folder / 'jobs.db'}"


def open_database(url: str) -> Engine:
    """The engine of a database. Of SQLite, whatever writes takes the write lock at its beginning."""
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


def migrate(connection: Connection) -> None:
    """Bring the tables up to date; of several processes that start together, one does it and the others wait."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
