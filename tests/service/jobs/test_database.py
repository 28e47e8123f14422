"""The database of jobs: where it lies, and its tables."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect

from service.jobs.database import default_url, migrate, open_database


def test_the_default_is_a_file_in_a_folder_that_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    assert default_url(folder) == f"sqlite:///{folder}/jobs.db"
    assert folder.is_dir()


def test_tables_are_made_once(database: str) -> None:
    engine = open_database(database)
    for _ in range(2):
        with engine.begin() as connection:
            migrate(connection)
    assert {"jobs", "items", "results"} <= set(inspect(engine).get_table_names())
    engine.dispose()
