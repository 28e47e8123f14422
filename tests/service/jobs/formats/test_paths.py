"""Paths of results: in one folder, within the limits of file systems, and unique."""

from __future__ import annotations

import pytest

from service.jobs.formats.paths import FreePaths, path_key, safe_path

pytestmark = pytest.mark.field


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b.png", "a/b.png.txt"),
        ("../../etc/x", "etc/x.txt"),
        ("/a//./b", "a/b.txt"),
        ("C:\\a\\b.png", "C_/a/b.png.txt"),
        ("12:30 \u202fAM [1].png", "12:30 \u202fAM [1].png.txt"),
        ("a\nb\x07.png", "a_b_.png.txt"),
        ("..", "image.txt"),
        ("caf\\xe9.png", "caf_xe9.png.txt"),
        ("images\\1.png", "images/1.png.txt"),
    ],
)
def test_a_path_keeps_a_name_but_for_what_leads_out(name: str, path: str) -> None:
    assert safe_path(name, ".txt") == path


@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127, "\U0001f469" * 63 + "abc", f"{'x' * 300}/{'y' * 300}", "d/" * 900 + "z"]
)
def test_no_part_is_longer_than_a_disk_takes(name: str) -> None:
    path = safe_path(name, "_keypoints.json")
    assert path.endswith("_keypoints.json")
    assert max(len(part.encode()) for part in path.split("/")) <= 255
    assert len(path.encode()) <= 1024
    assert safe_path(f"{name}2", "_keypoints.json") != path


def test_no_two_results_share_a_path() -> None:
    names = ["a.png", "A.PNG", "b/../a.png", "/a.png", "a.png-2", "caf\u00e9", "cafe\u0301", "a" * 300, "a" * 300]
    paths = FreePaths()
    taken = [paths.take(name, ".txt") for name in names]
    assert len({path_key(path) for path in taken}) == len(names)
    assert taken[0] == "a.png.txt"
