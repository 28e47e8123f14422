"""Every form is streamed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.jobs.formats.export import able_formats, exports_of, text_pieces
from service.jobs.records import Job, Record
from service.tasks import TASKS
from tests.service.jobs.formats.finished_jobs import results

# What pycocotools does with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("task", "form"), [("pose", form) for form in able_formats(exports_of(TASKS, "pose"))] + [("referring", "coco")]
)
def test_every_form_is_written_while_it_is_read(task: str, form: str) -> None:
    job = Job("1", task, {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True, total=3000, done=3000)
    name = "a/one.png"
    result = {"image": {"width": 80, "height": 60}, **results(task)[name]}
    read = 0

    def records() -> Iterator[Record]:
        nonlocal read
        for at in range(3000):
            read += 1
            yield Record(at, f"{at}.png", {}, "k", result, "")

    for count, _ in enumerate(text_pieces(form, job, records)):
        # YOLO's first reading finds names that share their label file.
        assert read <= count + 1 + (3000 if form == "yolo" else 0)
        if count == 50:
            break
    assert 0 < read < 60 + (3000 if form == "yolo" else 0)
