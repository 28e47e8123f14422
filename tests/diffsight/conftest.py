"""Small heads, problems and databases, for commands on their own and against the real server."""

from __future__ import annotations

from tests.service.conftest import check_problem, heads_folder, weights
from tests.service.jobs.conftest import database, postgres_url, store

__all__ = ["check_problem", "database", "heads_folder", "postgres_url", "store", "weights"]
