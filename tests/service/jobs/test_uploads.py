"""Uploads of jobs: stored whole under the job's id, refused if there is no room, deleted with the job."""

from __future__ import annotations

import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from service.jobs.sources import Reader, StoredSource, list_items
from service.jobs.uploads import forget, keep_files, keep_urls, keep_zip, receiving, uploads_folder
from service.settings.loader import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_folder=tmp_path, data_bytes=10_000)


def keep(settings: Settings, *files: tuple[str, bytes]) -> StoredSource:
    with receiving(settings, "job") as file:
        return keep_files(settings, "job", file, [(name, BytesIO(data)) for name, data in files])


def make_zip(name: str) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"picture")
    return file.getvalue()


def list_uploads(settings: Settings) -> list[str]:
    return sorted(file.name for file in uploads_folder(settings).iterdir())


def test_images_of_one_name_are_packed_under_names_of_their_own(settings: Settings) -> None:
    source = keep(settings, ("a.png", b"first"), ("C:\\x\\a.png", b"second"))
    assert (source.kind, source.uploaded, list_uploads(settings)) == ("zip", True, ["job.zip"])
    with zipfile.ZipFile(uploads_folder(settings) / source.address) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.png": b"first", "1-a.png": b"second"}
    forget(settings, source)
    assert list_uploads(settings) == []


PNG = b"\x89PNG\r\n\x1a\n" + bytes(30)


@pytest.mark.field
@pytest.mark.parametrize(
    "names",
    [
        ["2-a.png", "a.png", "a.png"],
        ["a.png", "1-a.png", "a.png", "a.png"],
        ["blob", "blob", "blob"],
        ["._a.png", ".a.png", ""],
        ["Thumbs.db", "12:30\u202fAM.png", "=?utf-8?B?Y2Fmw6kucG5n?="],
        ["caf\udce9.png", "x/caf\udce9.png"],
    ],
)
def test_every_uploaded_image_is_kept_and_listed(settings: Settings, names: list[str]) -> None:
    source = keep(settings, *((name, PNG + bytes([n])) for n, name in enumerate(names))).resolve(
        uploads_folder(settings)
    )
    reader = Reader(source)
    items = list(list_items(source))
    assert len({item.name for item in items}) == len(names)
    assert sorted(bytes(reader.read(item)) for item in items) == [PNG + bytes([n]) for n in range(len(names))]
    reader.close()


@pytest.mark.field
def test_files_of_operating_systems_in_an_uploaded_folder_are_passed_over(settings: Settings) -> None:
    source = keep(settings, ("d/.DS_Store", b"x"), ("d/a.png", PNG)).resolve(uploads_folder(settings))
    assert [item.name for item in list_items(source)] == ["a.png"]


@pytest.mark.field
@pytest.mark.parametrize("head", [b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3"])
def test_a_video_of_any_name_is_a_video(settings: Settings, head: bytes) -> None:
    assert keep(settings, ("blob", head)).kind == "video"


def test_the_kind_of_a_single_file_is_recognised(settings: Settings) -> None:
    assert keep(settings, ("clip.mp4", b"frames")).kind == "video"
    assert keep(settings, ("without-suffix", make_zip("a.png"))).kind == "zip"


@pytest.mark.parametrize(
    "files",
    [
        [("notes.txt", b"text")],
        [("a.png", b"1"), ("notes.txt", b"2")],
        [(".DS_Store", b"1"), ("._a", b"2")],
        [("large.png", b"0" * 20_000)],
    ],
)
def test_a_refused_upload_leaves_no_file(settings: Settings, files: list[tuple[str, bytes]]) -> None:
    with pytest.raises(InvalidInput):
        keep(settings, *files)
    assert list_uploads(settings) == []


def test_a_zip_without_images_is_refused(settings: Settings) -> None:
    with receiving(settings, "job") as file:
        file.write(make_zip("notes.txt"))
        with pytest.raises(InvalidInput, match="no image"):
            keep_zip(settings, "job", file)
    assert list_uploads(settings) == []


def test_addresses_are_kept_one_a_line(settings: Settings) -> None:
    with receiving(settings, "job") as file:
        source = keep_urls(settings, "job", file, ["https://example.org/a.jpg", "https://example.org/b.jpg"])
    lines = Path(source.resolve(uploads_folder(settings)).address).read_text().splitlines()
    assert (source.kind, len(lines)) == ("urls", 2)


def test_a_zip_with_a_name_twice_is_kept_for_its_other_images(settings: Settings) -> None:
    data = BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(data, "w") as archive:
        for name in ("a.png", "a.png", "b.png"):
            archive.writestr(name, b"x")
    with receiving(settings, "job") as file:
        file.write(data.getvalue())
        source = keep_zip(settings, "job", file)
    items = list(list_items(source.resolve(uploads_folder(settings))))
    assert [(item.name, "problem" in item.given) for item in items] == [("a.png", True), ("b.png", False)]
