"""The database of batch jobs: SQLite by default, PostgreSQL by URL. Every method is one transaction, and blocks.

An item is finished in the same transaction that stores its result, so that a kill at any moment leaves it either done
or not begun. A result is stored once under its key; every item of every job with the same key shares it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backbones.errors import InvalidInput
from service.errors import ChangedMeanwhile, NothingStored
from service.jobs.database import ResultRoom, migrate, open_database, storage_failures
from service.jobs.leases import Leases
from service.jobs.records import UNFINISHED, Item, Job, Outcome, Record
from service.jobs.tables import items, jobs, results

# A job fails after this many runs in a row that crashed with their server and finished nothing.
MOST_CRASHES = 3
_GIVEN_UP = (
    f"given up: its server ended {MOST_CRASHES} times while it ran and nothing of it was finished; take out the image, "
    "pattern or file that it stops at, and retry it"
)


class JobStore:
    """The jobs of one database, whose tables are brought up to date when it is opened.

    most_bytes: bound on the bytes of results; None sets no bound. leases: this process's view of leases. Every method
    raises StorageFailed if the database cannot be reached or its disk is full.
    """

    def __init__(self, url: str, *, most_bytes: int | None = None, leases: Leases | None = None) -> None:
        self._leases = leases or Leases()
        self._room = ResultRoom(most_bytes)
        try:
            self._engine = open_database(url)
            with self._engine.connect().execution_options(writing=True) as connection, connection.begin():
                migrate(connection)
        except ImportError as error:
            raise InvalidInput(
                "jobs.database",
                f"the driver of {url.partition(':')[0]} is not installed",
                hint="pip install 'diffsight[postgres]', and begin the URL with postgresql+psycopg://",
            ) from error
        except (SQLAlchemyError, ArgumentError) as error:
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            raise InvalidInput(
                "jobs.database",
                f"the database of jobs can not be opened: {reason}",
                hint="set DIFFSIGHT_JOBS__DATABASE to an SQLAlchemy URL of SQLite or PostgreSQL that may be written",
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # Jobs

    def add(
        self, task: str, parameters: Mapping[str, Any], source: Mapping[str, Any], *, local: bool = False, id: str = ""
    ) -> Job:
        """A new job, queued. Raises InvalidInput if there is no room for it."""
        now = time.time()
        job = Job(id or new_id(), task, parameters, source, local, created=now, updated=now, resumed=now)
        row = {field.name: getattr(job, field.name) for field in fields(job)}
        row |= {"parameters": canonical(parameters), "source": canonical(source)}
        with self._writing() as connection:
            self._room.take(connection, len(row["parameters"].encode()) + len(row["source"].encode()))
            connection.execute(insert(jobs).values(row))
        return job

    def latest(self, *, limit: int = 100, before: float | None = None) -> list[Job]:
        """Jobs, newest first; those made before `before` if it is given."""
        query = select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(limit)
        if before is not None:
            query = query.where(jobs.c.created < before)
        with self._reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def get(self, job_id: str) -> Job:
        """The job as it is now. Raises NothingStored if there is none."""
        with self._reading() as connection:
            return _get(connection, job_id)

    def has_job(self, job_id: str) -> bool:
        """Whether there is a job with this id."""
        with self._reading() as connection:
            return connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is not None

    def find_local(self, task: str, parameters: Mapping[str, Any], source: Mapping[str, Any]) -> Job | None:
        """The job that the same command created before."""
        query = select(jobs).where(
            jobs.c.local,
            jobs.c.task == task,
            jobs.c.parameters == canonical(parameters),
            jobs.c.source == canonical(source),
        )
        with self._reading() as connection:
            row = connection.execute(query.limit(1)).first()
        return None if row is None else _job(row)

    def pause(self, job_id: str) -> Job:
        """Pause the job; images in progress are finished. Raises ChangedMeanwhile for one that has ended."""
        return self._move(job_id, (*UNFINISHED, "paused"), "paused")

    def resume(self, job_id: str) -> Job:
        """Resume a paused job. Raises ChangedMeanwhile for one that has ended."""
        return self._move(job_id, (*UNFINISHED, "paused"), "queued")

    def retry(self, job_id: str) -> Job:
        """Queue failed items again; for a job that failed as a whole, all items without a result.

        Raises ChangedMeanwhile for a job that has not ended.
        """
        with self._writing() as connection:
            job = _get(connection, job_id)
            if job.status not in ("done", "failed"):
                raise _wrong_state(job, "retried", "wait for its end, or pause it")
            again = (items.c.job_id == job_id) & (items.c.status == "failed")
            connection.execute(update(items).where(again).values(status="pending", error="", key=""))
            values: dict[str, Any] = {"status": "queued", "failed": 0, "error": "", "crashes": 0}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(updated=time.time(), **values))
            return _get(connection, job_id)

    def begin_again(self, job_id: str, *, seconds: float = 10.0) -> Job:
        """Delete the list of items, so that the source is listed again, and keep all results: items with a result are
        finished at once.

        Raises ChangedMeanwhile if a process runs it. seconds: of a lease, as for `claim`.
        """
        with self._writing() as connection:
            job = _get(connection, job_id)
            if not self._leases.has_ended(job.id, job.owner, job.leased_until, seconds):
                raise _wrong_state(job, "begun again", "another process runs it; end that one, or wait for it")
            connection.execute(delete(items).where(items.c.job_id == job_id))
            nothing = {"total": 0, "done": 0, "failed": 0, "reused": 0, "listed": False, "error": ""}
            values = {"status": "queued", "owner": "", "updated": time.time(), "model": "", "revision": "", **nothing}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
            return _get(connection, job_id)

    def delete(self, job_id: str) -> None:
        """Delete a job, its items, and the results that no other job shares. Raises NothingStored."""
        with self._writing() as connection:
            _get(connection, job_id)
            own = select(items.c.key).where(items.c.job_id == job_id)
            other = items.alias()
            shared = exists().where((other.c.key == results.c.key) & (other.c.job_id != job_id))
            connection.execute(delete(results).where(results.c.key.in_(own), ~shared))
            connection.execute(delete(items).where(items.c.job_id == job_id))
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    # For runners

    def claim(self, owner: str, seconds: float, *, job_id: str | None = None) -> Job | None:
        """The oldest job that no process runs, now leased to `owner`; or the job with the id, if no process runs it.

        A run that was never released crashed with its server. After `MOST_CRASHES` such runs in a row the job fails.
        """
        which = ~jobs.c.local if job_id is None else jobs.c.id == job_id
        waiting = select(jobs.c.id, jobs.c.owner, jobs.c.leased_until).where(jobs.c.status.in_(UNFINISHED), which)
        with self._reading() as connection:
            rows = connection.execute(waiting.order_by(jobs.c.created)).all()
        for row in rows:
            ended = row.owner == owner or self._leases.has_ended(row.id, row.owner, row.leased_until, seconds)
            if ended and (job := self._claim(row.id, row.owner, owner, seconds)) is not None:
                return job
        return None

    def _claim(self, job_id: str, old_owner: str, owner: str, seconds: float) -> Job | None:
        """The job, leased; None if another process was faster, or if the job is given up."""
        now = time.time()
        free = (jobs.c.id == job_id) & (jobs.c.owner == old_owner) & jobs.c.status.in_(UNFINISHED)
        with self._writing() as connection:
            row = connection.execute(select(jobs).where(free).with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            crashed = row.status == "running" and row.owner not in ("", owner)
            progress = row.done + row.failed > row.resumed_finished
            crashes = 0 if progress or row.local else row.crashes + crashed
            if crashes >= MOST_CRASHES:
                given_up = {"status": "failed", "error": _GIVEN_UP, "owner": "", "leased_until": 0.0, "updated": now}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(crashes=crashes, **given_up))
                return None
            leased = {"owner": owner, "leased_until": now + seconds, "status": "running", "updated": now}
            leased["crashes"] = crashes
            run = {"resumed": now, "resumed_finished": row.done + row.failed}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(**leased, **run))
            job = _get(connection, row.id)
        self._leases.hold(job_id, owner, seconds)
        return job

    def renew(self, job_id: str, owner: str, seconds: float) -> bool:
        """Extend the lease. False if the job was paused, deleted or taken over: then stop the run."""
        held = (jobs.c.id == job_id) & (jobs.c.owner == owner) & (jobs.c.status == "running")
        with self._writing() as connection:
            lease = update(jobs).where(held).values(leased_until=time.time() + seconds)
            renewed: bool = connection.execute(lease).rowcount == 1
        if renewed:
            self._leases.hold(job_id, owner, seconds)
        return renewed

    def release(self, job_id: str, owner: str, *, status: str | None = None, error: str = "") -> None:
        """End the lease. With a status, end the job too if it is still running."""
        mine = (jobs.c.id == job_id) & (jobs.c.owner == owner)
        with self._writing() as connection:
            if status is not None:
                ended = {"status": status, "error": error, "updated": time.time()}
                connection.execute(update(jobs).where(mine, jobs.c.status == "running").values(**ended))
            connection.execute(update(jobs).where(mine).values(owner="", leased_until=0.0, crashes=0))
        self._leases.let_go(job_id, owner)

    def clear_items(self, job_id: str) -> None:
        """Delete an unfinished list of items."""
        with self._writing() as connection:
            connection.execute(delete(items).where(items.c.job_id == job_id))

    def add_items(self, job_id: str, more: Sequence[Item]) -> None:
        """Add to the list of items."""
        rows = [
            {
                "job_id": job_id,
                "position": item.position,
                "name": item.name,
                "address": item.address,
                "given": canonical(item.given),
                "status": "pending",
                "key": "",
                "error": "",
            }
            for item in more
        ]
        with self._writing() as connection:
            # If the job was deleted while its source was read, nothing of it may stay.
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update()).first() is not None:
                connection.execute(insert(items), rows)

    def set_listed(self, job_id: str, total: int) -> None:
        """Mark the list of items as complete."""
        with self._writing() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(listed=True, total=total))

    def set_model(self, job_id: str, model: str, revision: str) -> None:
        """Note which model, and which weights of it, the job's results come from."""
        with self._writing() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(model=model, revision=revision))

    def list_pending(self, job_id: str, *, after: int, limit: int) -> list[Item]:
        """Items that are not finished, in order, from behind position `after`."""
        query = (
            select(items.c.position, items.c.name, items.c.address, items.c.given)
            .where(items.c.job_id == job_id, items.c.status == "pending", items.c.position > after)
            .order_by(items.c.position)
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [Item(row.position, row.name, row.address, json.loads(row.given)) for row in rows]

    def has_result(self, key: str) -> bool:
        """Whether a result is stored under the key."""
        with self._reading() as connection:
            return connection.execute(select(results.c.key).where(results.c.key == key)).first() is not None

    def finish(self, job_id: str, outcomes: Sequence[Outcome]) -> None:
        """Store results and finish their items, all or none. Items that are already finished do not change.

        Raises InvalidInput if there is no room for the results.
        """
        now = time.time()
        counts = {"done": 0, "failed": 0, "reused": 0}
        with self._writing() as connection:
            self._room.take(connection, sum(len(outcome.result.encode()) for outcome in outcomes if outcome.result))
            if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update()).first() is None:
                return
            fresh = [
                {"key": outcome.key, "result": outcome.result, "created": now} for outcome in outcomes if outcome.result
            ]
            if fresh:
                connection.execute(self._insert_results(), fresh)
            for outcome in outcomes:
                status = "failed" if outcome.error else "done"
                at = (items.c.job_id == job_id) & (items.c.position == outcome.position) & (items.c.status == "pending")
                ended = update(items).where(at).values(status=status, key=outcome.key, error=outcome.error)
                if connection.execute(ended).rowcount:
                    counts[status] += 1
                    counts["reused"] += status == "done" and outcome.result is None
            grown = {name: jobs.c[name] + count for name, count in counts.items()}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(updated=now, **grown))

    # For readers

    def records(
        self, job_id: str, *, status: str = "done", before: int | None = None, page: int = 500
    ) -> Iterator[Record]:
        """The finished items in order, read a page at a time, so that memory does not grow with the job.

        before: the position to stop at.
        Raises NothingStored and ChangedMeanwhile between two pages if the job is deleted, or begun again, meanwhile.
        """
        after = -1
        while True:
            query = (
                select(items, results.c.result)
                .outerjoin(results, results.c.key == items.c.key)
                .where(items.c.job_id == job_id, items.c.status == status, items.c.position > after)
                .order_by(items.c.position)
                .limit(page)
            )
            if before is not None:
                query = query.where(items.c.position < before)
            with self._reading() as connection:
                rows = connection.execute(query).all()
                # Without this, a list that ends because its job was deleted would look complete.
                if not _get(connection, job_id).listed and after >= 0:
                    raise ChangedMeanwhile(f"the job {job_id} was started again", hint="export them when it is done")
            for row in rows:
                result = json.loads(row.result) if row.result else None
                yield Record(row.position, row.name, json.loads(row.given), row.key, result, row.error)
            if len(rows) < page:
                return
            after = rows[-1].position

    def first_pending(self, job_id: str) -> int | None:
        """The position of the first item that is not finished; None if there is none."""
        pending = (items.c.job_id == job_id) & (items.c.status == "pending")
        with self._reading() as connection:
            position: int | None = connection.execute(select(func.min(items.c.position)).where(pending)).scalar_one()
            return position

    def count_results(self) -> int:
        """How many results are stored, all jobs together."""
        with self._reading() as connection:
            return int(connection.execute(select(func.count()).select_from(results)).scalar_one())

    def _move(self, job_id: str, from_: Sequence[str], to: str) -> Job:
        with self._writing() as connection:
            job = _get(connection, job_id)
            if job.status not in from_:
                raise _wrong_state(job, to, "it has ended; POST .../retry runs its failed items again")
            if to != "queued" or job.status == "paused":
                moved = update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_(from_))
                connection.execute(moved.values(status=to, updated=time.time()))
            return _get(connection, job_id)

    def _insert_results(self) -> Any:
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(results).on_conflict_do_nothing(index_elements=["key"])

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            storage_failures(),
            self._engine.connect().execution_options(writing=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with storage_failures(), self._engine.connect() as connection:
            yield connection


def new_id() -> str:
    """An id for a job; ids sort by the second of their creation."""
    return f"{int(time.time()):08x}{secrets.token_hex(4)}"


def canonical(value: Any) -> str:
    """JSON that is the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _job(row: Any) -> Job:
    values = {field.name: getattr(row, field.name) for field in fields(Job)}
    return Job(**{**values, "parameters": json.loads(row.parameters), "source": json.loads(row.source)})


def _get(connection: Connection, job_id: str) -> Job:
    # A client may send any id; PostgreSQL refuses texts with a zero byte.
    is_valid = job_id.isascii() and job_id.isalnum()
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first() if is_valid else None
    if row is None:
        raise NothingStored(f"there is no job {job_id[:100]!r}", hint="GET /v1/jobs lists the jobs")
    return _job(row)


def _wrong_state(job: Job, what: str, hint: str) -> ChangedMeanwhile:
    return ChangedMeanwhile(f"the job {job.id} is {job.status} and can not be {what}", hint=hint)
