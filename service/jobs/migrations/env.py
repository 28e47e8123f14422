"""How Alembic reaches the database: by the connection that the store hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from service.jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="jobs_version"
)
with context.begin_transaction():
    context.run_migrations()
