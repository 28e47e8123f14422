"""Alembic uses the store's connection, inside the store's transaction."""

from __future__ import annotations

from alembic import context

from service.jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="jobs_version"
)
with context.begin_transaction():
    context.run_migrations()
