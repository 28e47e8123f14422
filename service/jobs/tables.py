"""The tables of batch jobs, as the newest migration leaves them. Times are seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("task", String(64), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("source", Text, nullable=False),
    # Of a command in the foreground: servers leave it alone.
    Column("local", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("error", Text, nullable=False),
    # Revision of the weights that the first result came from; empty before.
    Column("revision", String(200), nullable=False),
    # Whether `items` lists the whole source. Work begins after that.
    Column("listed", Boolean, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # How many of the done items had a result already.
    Column("reused", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    # When the present run began, and how many items were finished then: the rate is computed from them.
    Column("resumed", Float, nullable=False),
    Column("resumed_finished", Integer, nullable=False),
    # The runner, and until when its lease lasts.
    Column("owner", String(64), nullable=False),
    Column("leased_until", Float, nullable=False),
    # Runs in a row that crashed with their server without a finished item.
    Column("crashes", Integer, nullable=False, server_default="0"),
    # Id of the model that the results come from; empty before the first, and in jobs of older versions.
    Column("model", String(200), nullable=False, server_default=""),
    Index("jobs_by_status", "status", "created"),
)

items = Table(
    "items",
    metadata,
    Column("job_id", String(16), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("given", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("key", String(64), nullable=False),
    Column("error", Text, nullable=False),
    Index("items_by_status", "job_id", "status", "position"),
    Index("items_by_key", "key"),
)

results = Table(
    "results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("result", Text, nullable=False),
    Column("created", Float, nullable=False),
)
