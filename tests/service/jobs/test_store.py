"""Jobs in SQLite and in PostgreSQL: one owner each, atomic changes, one result a key, also when calls are repeated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from backbones.errors import InvalidInput
from service.errors import ChangedMeanwhile, NothingStored, StorageFailed
from service.jobs.leases import Leases
from service.jobs.records import Item, Job, Outcome
from service.jobs.store import JobStore
from service.jobs.tables import metadata

FOREVER = 1000.0


def add_listed_job(store: JobStore, count: int = 3) -> Job:
    job = store.add("features", {"pool_size": 1}, {"kind": "folder", "address": "/a"})
    store.add_items(job.id, [Item(n, f"{n}.png", f"/a/{n}.png", {"image_id": n}) for n in range(count)])
    store.set_listed(job.id, count)
    return store.get(job.id)


def test_the_migrations_make_the_tables_that_the_code_names(store: JobStore, database: str) -> None:
    engine = create_engine(database)
    tables = inspect(engine)
    for table in metadata.sorted_tables:
        assert [c["name"] for c in tables.get_columns(table.name)] == [c.name for c in table.columns]
        assert {i["name"] for i in tables.get_indexes(table.name)} == {i.name for i in table.indexes}
    engine.dispose()


def test_opening_twice_changes_nothing(store: JobStore, database: str) -> None:
    job = add_listed_job(store)
    again = JobStore(database)
    assert again.get(job.id) == job
    again.close()


def test_a_job_has_one_owner_until_its_lease_ends(store: JobStore) -> None:
    job = add_listed_job(store)
    claimed = store.claim("one", FOREVER)
    assert claimed is not None
    assert (claimed.id, claimed.status, claimed.owner) == (job.id, "running", "one")
    assert store.claim("two", FOREVER) is None
    assert store.renew(job.id, "one", -1.0)
    taken = store.claim("two", FOREVER)
    assert taken is not None
    assert taken.owner == "two"
    assert not store.renew(job.id, "one", FOREVER)
    store.release(job.id, "one", status="done")
    assert store.get(job.id).status == "running"
    store.release(job.id, "two", status="done")
    assert store.get(job.id).status == "done"


def test_a_job_that_ends_its_server_three_times_is_given_up_with_the_reason(store: JobStore) -> None:
    job, other = add_listed_job(store), add_listed_job(store)
    for server in ("one", "two", "three"):
        claimed = store.claim(server, -1.0)
        assert claimed is not None
        assert claimed.id == job.id
    following = store.claim("four", FOREVER)
    assert following is not None
    assert following.id == other.id
    given_up = store.get(job.id)
    assert (given_up.status, given_up.owner) == ("failed", "")
    assert "its server ended 3 times" in given_up.error
    store.retry(job.id)
    again = store.claim("five", -1.0)
    assert again is not None
    assert (again.id, again.crashes) == (job.id, 0)


def test_a_run_that_finished_something_or_was_released_is_no_crash_in_a_row(store: JobStore) -> None:
    job = add_listed_job(store, 9)
    for n in range(5):
        assert store.claim(f"server {n}", -1.0) is not None
        store.finish(job.id, [Outcome(n, "key", "{}")])
    for n in range(5):
        claimed = store.claim(f"again {n}", -1.0)
        assert claimed is not None
        store.release(job.id, claimed.owner)
    assert store.get(job.id).status == "running"


def test_the_oldest_job_goes_first_and_a_local_one_only_by_its_id(store: JobStore) -> None:
    local = store.add("features", {}, {}, local=True)
    old, new = add_listed_job(store), add_listed_job(store)
    assert [job.id for job in store.latest()] == [new.id, old.id, local.id]
    claims = [store.claim("one", FOREVER), store.claim("two", FOREVER), store.claim("three", FOREVER)]
    assert [claim and claim.id for claim in claims] == [old.id, new.id, None]
    mine = store.claim("four", FOREVER, job_id=local.id)
    assert mine is not None
    assert mine.id == local.id


def test_an_item_is_finished_once_and_a_key_has_one_result(store: JobStore) -> None:
    job = add_listed_job(store)
    store.finish(job.id, [Outcome(0, "k", '{"a":1}'), Outcome(1, "k"), Outcome(2, error="broken")])
    store.finish(job.id, [Outcome(0, "k", '{"a":2}'), Outcome(2, "x", '{"a":3}')])
    now = store.get(job.id)
    assert (now.done, now.failed, now.reused) == (2, 1, 1)
    assert [(record.name, record.given, record.result) for record in store.records(job.id, page=1)] == [
        ("0.png", {"image_id": 0}, {"a": 1}),
        ("1.png", {"image_id": 1}, {"a": 1}),
    ]
    assert [(record.name, record.error) for record in store.records(job.id, status="failed")] == [("2.png", "broken")]
    assert store.list_pending(job.id, after=-1, limit=9) == []


def test_pages_of_pending_items_follow_each_other(store: JobStore) -> None:
    job = add_listed_job(store, 5)
    store.finish(job.id, [Outcome(1, "k", "{}")])
    first = store.list_pending(job.id, after=-1, limit=2)
    assert [item.position for item in first] == [0, 2]
    assert [item.position for item in store.list_pending(job.id, after=2, limit=9)] == [3, 4]


def test_a_paused_job_is_held_by_no_process_until_it_is_resumed(store: JobStore) -> None:
    job = add_listed_job(store)
    store.claim("one", FOREVER)
    assert store.pause(job.id).status == "paused"
    assert not store.renew(job.id, "one", FOREVER)
    store.release(job.id, "one", status="done")
    assert store.get(job.id).status == "paused"
    assert store.claim("two", FOREVER) is None
    assert store.resume(job.id).status == "queued"
    assert store.claim("two", FOREVER) is not None


def test_only_an_ended_job_is_retried_and_then_its_failed_items_only(store: JobStore) -> None:
    job = add_listed_job(store)
    with pytest.raises(ChangedMeanwhile):
        store.retry(job.id)
    store.claim("one", FOREVER)
    store.finish(job.id, [Outcome(0, "k", "{}"), Outcome(1, error="broken"), Outcome(2, "l", "{}")])
    store.release(job.id, "one", status="done")
    with pytest.raises(ChangedMeanwhile):
        store.pause(job.id)
    again = store.retry(job.id)
    assert (again.status, again.done, again.failed) == ("queued", 2, 0)
    assert [item.position for item in store.list_pending(job.id, after=-1, limit=9)] == [1]


def test_deleting_a_job_keeps_the_results_that_others_share(store: JobStore) -> None:
    first, second = add_listed_job(store), add_listed_job(store)
    store.finish(first.id, [Outcome(0, "shared", "{}"), Outcome(1, "own", "{}")])
    store.finish(second.id, [Outcome(0, "shared")])
    store.delete(first.id)
    assert store.has_result("shared")
    assert not store.has_result("own")
    with pytest.raises(NothingStored):
        store.get(first.id)
    # A late result of its runner is not stored.
    store.finish(first.id, [Outcome(2, "late", "{}")])
    assert not store.has_result("late")


def test_beginning_again_keeps_results_and_is_refused_while_a_process_runs_it(store: JobStore) -> None:
    job = add_listed_job(store)
    store.finish(job.id, [Outcome(0, "k", "{}")])
    store.claim("one", FOREVER)
    with pytest.raises(ChangedMeanwhile):
        store.begin_again(job.id)
    store.release(job.id, "one")
    assert not store.begin_again(job.id).listed
    assert store.has_result("k")


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/jobs.db", "postgresql+psycopg://t@/x?host=/nowhere"])
def test_a_database_that_cannot_be_opened_is_reported_with_the_setting(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        JobStore(url)
    assert "DIFFSIGHT_JOBS__DATABASE" in caught.value.hint


def test_the_default_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    from service.jobs.database import default_url

    JobStore(default_url(tmp_path / "data")).close()
    assert (tmp_path / "data" / "jobs.db").is_file()


def test_all_items_before_the_first_pending_one_are_finished(store: JobStore) -> None:
    job = add_listed_job(store, 4)
    assert store.first_pending(job.id) == 0
    store.finish(job.id, [Outcome(0, "a", "{}"), Outcome(1, error="broken"), Outcome(3, "d", "{}")])
    assert store.first_pending(job.id) == 2
    assert [record.position for record in store.records(job.id, before=2, page=1)] == [0]
    assert [record.position for record in store.records(job.id, status="failed", before=2)] == [1]
    store.finish(job.id, [Outcome(2, "c", "{}")])
    assert store.first_pending(job.id) is None
    assert [record.position for record in store.records(job.id)] == [0, 2, 3]


def test_a_list_that_is_made_of_a_deleted_job_leaves_nothing(store: JobStore) -> None:
    job = store.add("features", {}, {})
    store.delete(job.id)
    store.add_items(job.id, [Item(0, "a", "a", {})])
    assert store.list_pending(job.id, after=-1, limit=9) == []


@pytest.mark.parametrize("job", ["", "\0", "a\0b", "é", "0123456789abcdef"])
def test_any_text_may_be_requested(store: JobStore, job: str) -> None:
    with pytest.raises(NothingStored):
        store.get(job)


def test_a_clock_that_jumps_takes_no_job_from_its_owner(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job = add_listed_job(store)
    store.claim("one", 10.0)
    wall = time.time()
    for jump in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda jump=jump: wall + jump)
        assert store.claim("two", 10.0) is None
        with pytest.raises(ChangedMeanwhile):
            store.begin_again(job.id)
        assert store.renew(job.id, "one", 10.0)


def test_a_lease_of_a_process_that_died_before_the_clock_went_back_ends(store: JobStore, database: str) -> None:
    job = add_listed_job(store)
    store.claim("dead", 3600.0)
    now = 0.0
    other = JobStore(database, leases=Leases(lambda: now))
    assert other.claim("alive", 10.0) is None
    now = 10.0
    claimed = other.claim("alive", 10.0)
    assert claimed is not None
    assert claimed.id == job.id
    other.close()


def test_results_have_a_bound_and_room_comes_back_with_the_jobs_that_are_deleted(database: str) -> None:
    store = JobStore(database, most_bytes=600_000)
    old, new = add_listed_job(store), add_listed_job(store)
    store.finish(old.id, [Outcome(0, "a", json.dumps("x" * 300_000))])
    with pytest.raises(InvalidInput, match="may be kept"):
        store.finish(new.id, [Outcome(0, "b", json.dumps("x" * 400_000))])
    assert not store.has_result("b")
    assert store.get(new.id).finished == 0
    store.delete(old.id)
    store.finish(new.id, [Outcome(0, "b", json.dumps("x" * 400_000))])
    assert store.has_result("b")
    store.close()


def test_jobs_themselves_have_the_same_bound(database: str) -> None:
    store = JobStore(database, most_bytes=600_000)
    old = store.add("zero-shot", {"labels": ["x" * 300_000]}, {"kind": "zip"})
    with pytest.raises(InvalidInput, match="delete jobs"):
        store.add("zero-shot", {"labels": ["x" * 400_000]}, {"kind": "zip"})
    assert [job.id for job in store.latest()] == [old.id]
    store.delete(old.id)
    store.add("zero-shot", {"labels": ["x" * 400_000]}, {"kind": "zip"})
    store.close()


@pytest.mark.parametrize("change", ["delete", "begin_again"])
def test_records_of_a_job_that_changes_meanwhile_do_not_end_as_if_they_were_whole(store: JobStore, change: str) -> None:
    job = add_listed_job(store)
    store.finish(job.id, [Outcome(position, f"k{position}", "{}") for position in range(3)])
    records = store.records(job.id, page=1)
    next(records)
    getattr(store, change)(job.id)
    with pytest.raises((NothingStored, ChangedMeanwhile)):
        list(records)


def test_a_database_that_does_not_work_is_no_fault(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    store = JobStore(f"sqlite:///{file}")
    job = add_listed_job(store)
    store.close()
    file.unlink()
    file.mkdir()
    for use in (store.latest, lambda: store.get(job.id), lambda: store.finish(job.id, [Outcome(0, "k", "{}")])):
        with pytest.raises(StorageFailed):
            use()
