"""The files of a request: their order, their names in problems, and what is fetched for them."""

from __future__ import annotations

import asyncio

from heads.inputs import InputCounts
from service.inputs.archives import ArchivedFile
from service.inputs.files import InputFiles, archive_paths, fetch_files, name_images
from service.inputs.urls import UrlFetcher
from service.settings.groups import UrlSettings


def test_names_follow_the_order_of_the_files() -> None:
    files = InputFiles([b"q"], [b"a", b"b"], [b"m", b"n"])
    assert files.all() == [b"q", b"a", b"b", b"m", b"n"]
    supports = ["support_images.0", "support_images.1", "support_masks.0", "support_masks.1"]
    assert files.names() == ["image", *supports]
    assert files.counts() == InputCounts(1, 2, 2)


def test_a_file_of_an_archive_is_named_by_its_path() -> None:
    archived = ArchivedFile("cats/1.png", b"x")
    assert name_images([archived]) == ["cats/1.png"]
    assert name_images([b"y", archived]) == ["images.0", "cats/1.png"]
    assert archive_paths([b"y", archived]) == ["", "cats/1.png"]
    assert archive_paths([b"y"]) == []


def test_files_of_the_request_are_not_fetched() -> None:
    contents = fetch_files(UrlFetcher(UrlSettings()), [b"y", ArchivedFile("a", b"x")], ["a", "b"], most_bytes=0)
    assert asyncio.run(contents) == [b"y", b"x"]
