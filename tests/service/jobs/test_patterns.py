"""Patterns: the same matches as fsspec's, in a short time for any pattern."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from service.jobs.patterns import find_matching, matches

FILES = ("a.png", "b.jpg", "sub/a.png", "sub/deep/c.png", "sub2/a.png", "[x]/d.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    ["*.png", "*", "sub*/*.png", "s?b/a.png", "**/*.png", "sub/**", "**/deep/*", "[ab].*", "nothing*", "a.png"],
)
def test_files_are_found_as_fsspec_finds_them(folder: Path, pattern: str) -> None:
    file_system = LocalFileSystem()
    expected = {path for path in file_system.glob(f"{folder}/{pattern}") if file_system.isfile(path)}
    assert set(find_matching(file_system, f"{folder}/{pattern}")) == expected


def test_a_pattern_of_many_stars_is_matched_fast() -> None:
    name = "IMG_20261128_103512_burst_cover_edited_final_version.png"
    assert not matches([name], ["*?" * 200 + "*.nope"])
    assert matches([name], ["*?" * 20 + "*.png"])
    assert not matches(["a"] * 200, [*["**", "?"] * 150, "b"])


@pytest.mark.parametrize(
    ("path", "pattern", "matched"),
    [
        ("a/b", "**/b", True),
        ("b", "**/b", True),
        ("a/b/c", "a/**", True),
        ("a", "a/**/b", False),
        ("a/B", "a/b", False),
        ("a/.b", "a/*", True),
    ],
)
def test_two_stars_stand_for_folders(path: str, pattern: str, matched: bool) -> None:
    assert matches(path.split("/"), pattern.split("/")) is matched
