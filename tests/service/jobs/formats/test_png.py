"""Depth maps as files of a folder."""

from __future__ import annotations

import base64

from service.jobs.formats.png import png
from service.jobs.records import Job, Record


def test_a_map_goes_below_its_own_folder_and_results_without_one_are_left_out() -> None:
    job = Job("1", "depth", {}, {}, False, 0, 0, 0, status="done", revision="r", listed=True, total=2, done=2)
    maps = [base64.b64encode(b"first").decode(), None, base64.b64encode(b"third").decode()]
    names = ["a/one.png", "two.png", "../C:/three.jpg"]
    records = [
        Record(place, name, {}, "k", {"png16": file} if file else {}, "")
        for place, (name, file) in enumerate(zip(names, maps, strict=True))
    ]
    assert list(png(job, lambda: records)) == [("a/one.png.png", b"first"), ("C_/three.jpg.png", b"third")]
