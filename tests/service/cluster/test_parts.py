"""The folder of a cluster's job: begun once, resumed, and no image twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from service.jobs.records import Item, Outcome
from service.jobs.sources import guess
from tests.service.jobs.conftest import write_pictures

pytest.importorskip("pyarrow", reason="the extra `ray` is not installed")

from service.cluster.parts import PARTS_A_FILE, JobWeights, Order, PartFolder

WEIGHTS = JobWeights("pocket", "1", {"timesteps": [1]})


def order_for(folder: Path, *, images: int = 10, part_images: int = 4, task: str = "features") -> Order:
    if not folder.exists():
        write_pictures(folder, images)
    return Order(task, [["labels", "a"]], guess(str(folder)).model_dump(mode="json"), part_images)


def outcomes_of(items: list[Item], *, failed: int = -1) -> list[Outcome]:
    return [
        Outcome(item.position, error="torn")
        if item.position == failed
        else Outcome(item.position, f"key{item.position}", f'{{"number":{item.position}}}')
        for item in items
    ]


def test_the_list_is_in_parts_and_the_parts_are_the_list(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    order = folder.begin(order_for(tmp_path / "pictures"))
    assert (order.total, order.parts) == (10, 3)
    items = [item for part in range(order.parts) for item in folder.items(part)]
    assert [item.position for item in items] == list(range(10))
    assert len({item.name for item in items}) == 10
    assert folder.find_missing(order.parts) == ([0, 1, 2], [])


def test_a_list_of_several_files_is_read_back_whole(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    images = PARTS_A_FILE + 3
    order = folder.begin(order_for(tmp_path / "pictures", images=images, part_images=1))
    assert [folder.items(part)[0].position for part in range(order.parts)] == list(range(images))


def test_the_same_command_takes_the_list_up_again_and_another_one_is_refused(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    order = order_for(tmp_path / "pictures")
    begun = folder.begin(order)
    write_pictures(tmp_path / "pictures", 12)  # two more
    assert folder.begin(order) == begun
    with pytest.raises(InvalidInput, match="another command"):
        folder.begin(order_for(tmp_path / "pictures", task="pose"))


def test_failed_parts_are_distinguished_from_missing_ones_and_are_done_again(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    order = folder.begin(order_for(tmp_path / "pictures"))
    for part in (0, 1):
        items = folder.items(part)
        folder.write(part, items, outcomes_of(items, failed=5))
    assert folder.find_missing(order.parts) == ([2], [1])
    assert sorted(folder.outcomes(1)) == [4, 6, 7]
    assert folder.outcomes(2) == {}


def test_records_are_in_the_order_of_the_list_and_each_is_there_once(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    order = folder.begin(order_for(tmp_path / "pictures"))
    for part in (2, 0, 1, 0):  # in any order, and one of them by two actors
        items = folder.items(part)
        folder.write(part, items, outcomes_of(items, failed=5))
    records = list(folder.records(order.parts))
    assert [record.position for record in records] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [record.result for record in records] == [{"number": record.position} for record in records]
    assert [(r.position, r.error) for r in folder.records(order.parts, status="failed")] == [(5, "torn")]
    job = folder.job(order, failed=1)
    assert (job.total, job.done, job.failed, job.task) == (10, 9, 1, "features")
    assert not list(tmp_path.rglob("*.part"))


def test_a_writer_that_dies_leaves_the_part_missing(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    order = folder.begin(order_for(tmp_path / "pictures"))
    items = folder.items(0)
    folder.write(0, items, outcomes_of(items))
    beside = folder.place(1).with_name(".00000001.parquet.0123456789ab.part")
    beside.write_bytes(folder.place(0).read_bytes()[:100])  # as after a kill
    assert folder.find_missing(order.parts) == ([1, 2], [])


def test_the_first_actor_decides_the_weights_and_others_must_have_them(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path / "out")
    folder.begin(order_for(tmp_path / "pictures"))
    folder.agree(WEIGHTS)
    folder.agree(WEIGHTS)
    assert folder.read_weights() == WEIGHTS
    for other in (JobWeights("other", "1", {"timesteps": [1]}), JobWeights("pocket", "2", {"timesteps": [1]})):
        with pytest.raises(InvalidInput, match="weights"):
            folder.agree(other)


def test_a_source_without_images_is_refused_and_the_folder_can_be_begun_again(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    folder = PartFolder(tmp_path / "out")
    order = order_for(tmp_path / "pictures")
    with pytest.raises(InvalidInput, match="no image"):
        folder.begin(order)
    write_pictures(tmp_path / "pictures", 2)
    assert folder.begin(order).total == 2
