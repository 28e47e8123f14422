"""The work of an actor, without Ray: results as a server's, reasons for failures, no item twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from service.jobs.sources import guess
from service.settings.loader import load_settings
from tests.service.jobs.conftest import write_pictures

pytest.importorskip("pyarrow", reason="the extra `ray` is not installed")

from service.cluster.annotator import Annotator
from service.cluster.parts import Order, PartFolder

SETTINGS = load_settings(None, device="cpu", engine={"torch_threads": 1}).model_dump()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> PartFolder:
    """A job of eight images: six of their own, one that is torn, and a copy."""
    path = tmp_path_factory.mktemp("cluster")
    pictures = path / "pictures"
    write_pictures(pictures, 6)
    (pictures / "torn.png").write_bytes((pictures / "odd/00000.png").read_bytes()[:90])
    shutil.copy(pictures / "even/00000.png", pictures / "zcopy.png")
    folder = PartFolder(path / "out")
    folder.begin(Order("features", [], guess(str(pictures)).model_dump(mode="json"), 3))
    return folder


@pytest.fixture(scope="module")
def annotator(folder: PartFolder) -> Iterator[Annotator]:
    order = folder.read_order()
    assert order is not None
    made = Annotator(SETTINGS, str(folder.path), order)
    assert not made.problem
    yield made
    made.close()


def test_parts_are_done_and_a_torn_image_is_a_row_with_its_reason(annotator: Annotator, folder: PartFolder) -> None:
    answer = annotator({"part": [0, 1, 2]})
    assert answer["problem"] == ["", "", ""]
    assert (sum(answer["done"]), sum(answer["failed"]), sum(answer["reused"])) == (7, 1, 0)
    records = {record.name: record for record in folder.records(3)}
    assert len(records) == 7
    assert records["zcopy.png"].key == records["even/00000.png"].key
    assert records["zcopy.png"].result == records["even/00000.png"].result
    (torn,) = folder.records(3, status="failed")
    assert torn.name == "torn.png"
    assert torn.error
    weights = folder.read_weights()
    assert weights is not None
    assert weights.model == "pocket"


def test_a_part_that_is_done_is_not_done_again_but_for_what_failed(annotator: Annotator, folder: PartFolder) -> None:
    annotator({"part": [0, 1, 2]})
    before = {part: folder.place(part).stat().st_mtime_ns for part in range(3)}
    absent, failed = folder.find_missing(3)
    assert (absent, len(failed)) == ([], 1)
    answer = annotator({"part": [0, 1, 2]})
    assert sum(answer["reused"]) == 7
    changed = [part for part in range(3) if folder.place(part).stat().st_mtime_ns != before[part]]
    assert changed == failed


def test_a_problem_of_the_whole_job_is_returned_and_not_raised(folder: PartFolder) -> None:
    order = folder.read_order()
    assert order is not None
    wrong = Annotator(SETTINGS, str(folder.path), replace(order, values=[["model", "nothing-of-this-name"]]))
    (problem,) = wrong({"part": [0]})["problem"]
    assert "nothing-of-this-name" in problem
    wrong.close()
