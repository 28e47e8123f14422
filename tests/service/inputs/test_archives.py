"""service/inputs/archives.py: which uploaded zips are read, and which are refused."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.errors import InvalidInput
from service.inputs.archives import is_archive, read_archive
from service.settings.groups import LimitSettings

LIMITS = LimitSettings()


def make_zip(*files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name, bytes)."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return written.getvalue()


def link(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry that unpackers would not write as a regular file."""
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (mode | 0o777) << 16
    return entry


def test_files_come_by_name_without_folders_and_litter(png: bytes) -> None:
    data = make_zip(
        ("dogs/", b""),
        ("dogs/b.png", b"b"),
        ("cats/a.png", png),
        ("__MACOSX/cats/._a.png", b"x"),
        ("dogs/.DS_Store", b"x"),
        ("Thumbs.db", b"x"),
        ("inner.zip", make_zip(("a", b"a"))),
    )
    assert is_archive(data)
    files = read_archive(data, LIMITS)
    assert [file.name for file in files] == ["cats/a.png", "dogs/b.png", "inner.zip"]
    assert files[0].data == png


def test_a_zip_may_be_stored_and_have_a_comment() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a", b"abc")
        archive.comment = b"hello"
    assert [file.data for file in read_archive(written.getvalue(), LIMITS)] == [b"abc"]


@pytest.mark.parametrize(
    "name", ["../a.png", "a/../../b.png", "/etc/passwd", "\\a.png", "..\\a.png", "C:\\a.png", "c:/a.png"]
)
def test_a_path_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="points outside the archive"):
        read_archive(make_zip(("good.png", b"x"), (name, b"x")), LIMITS)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_is_refused(mode: int) -> None:
    with pytest.raises(InvalidInput, match="is a link"):
        read_archive(make_zip((link("a.png", mode), b"/etc/passwd")), LIMITS)


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(make_zip(("a.png", b"x")))
    listing = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[listing + 8] |= 1
    with pytest.raises(InvalidInput, match="encrypted"):
        read_archive(bytes(data), LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_deflate_is_unpacked(method: int) -> None:
    with pytest.raises(InvalidInput, match="unsupported compression method"):
        read_archive(make_zip(("a.png", b"x" * 100), method=method), LIMITS)


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = make_zip(("a.png", b"x"), ("a.png", b"y"))
    with pytest.raises(InvalidInput, match="twice"):
        read_archive(data, LIMITS)


def test_a_bomb_is_refused_by_its_growth() -> None:
    bomb = make_zip(*((f"{number}.bmp", bytes(8 * 1024 * 1024)) for number in range(8)))
    assert len(bomb) < 100_000
    with pytest.raises(InvalidInput, match=r"unpack to 67,108,864; more than 100 times"):
        read_archive(bomb, LIMITS)


def test_a_bomb_is_refused_by_its_size() -> None:
    bomb = make_zip(*((f"{number}.bmp", bytes(1024 * 1024)) for number in range(3)))
    limits = LimitSettings(max_archive_bytes=2 * 1024 * 1024, max_archive_ratio=1032)
    with pytest.raises(InvalidInput, match="more than 2,097,152 bytes"):
        read_archive(bomb, limits)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_further() -> None:
    data = bytearray(make_zip(("a.bmp", bytes(16 * 1024 * 1024))))
    listing = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, 22, 100)
    struct.pack_into("<I", data, listing + 24, 100)
    with pytest.raises(InvalidInput, match="damaged"):
        read_archive(bytes(data), LIMITS)


def test_files_that_share_their_bytes_are_refused_by_their_growth() -> None:
    """A list of contents whose entries all point at the same packed megabyte."""
    data = make_zip(("a", bytes(1024 * 1024)))
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    entries = b"".join(entry[:46] + b"%c" % (97 + number) + entry[47:] for number in range(20))
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 20, 20, len(entries), start, 0)
    with pytest.raises(InvalidInput, match="more than 100 times"):
        read_archive(data[:start] + entries + tail, LIMITS)


def test_more_entries_than_the_limit_are_refused_before_they_are_listed() -> None:
    limits = LIMITS.model_copy(update={"max_archive_entries": 1000})
    data = make_zip(*((str(number), b"") for number in range(1001)))
    with pytest.raises(InvalidInput, match="more than 1,000 entries"):
        read_archive(data, limits)
    lying = bytearray(data)
    struct.pack_into("<HH", lying, len(data) - 14, 1, 1)
    with pytest.raises(InvalidInput, match="more than 1,000 entries"):
        read_archive(bytes(lying), limits)


def as_zip64(data: bytes, *, entries: int | None = None) -> bytes:
    """A plain zip with the end of a zip64. entries: how many it says that it has."""
    at = data.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HII", data, at + 10)
    count = count if entries is None else entries
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:at] + record + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + end


def test_a_zip64_is_read_within_the_same_bounds() -> None:
    data = make_zip(("a", b"abc"), ("b", b"d"))
    assert [file.data for file in read_archive(as_zip64(data), LIMITS)] == [b"abc", b"d"]
    with pytest.raises(InvalidInput, match="more than 20,000 entries"):
        read_archive(as_zip64(data, entries=1 << 40), LIMITS)


def test_a_zip64_without_its_record_is_refused() -> None:
    data = make_zip(("a", b"a"))
    end = data.index(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    with pytest.raises(InvalidInput, match="damaged"):
        read_archive(data[:end] + locator + data[end:], LIMITS)


@pytest.mark.parametrize(
    "name",
    [
        "Bildschirmfoto um 10.12.30\u202fAM.png",
        "\U0001f469\u200d\U0001f4bb.png",
        "12:30.png",
        "a\nb.png",
        "cafe\u0301.png",
    ],
)
def test_a_name_in_any_script_is_read(name: str) -> None:
    assert [file.name for file in read_archive(make_zip((name, b"x")), LIMITS)] == [name]


def test_names_in_utf_8_that_do_not_say_so_are_read_as_utf_8() -> None:
    data = make_zip(("caf\u00e9.png", b"x")).replace("caf\u00e9".encode(), b"caf\xc3\xa9")
    unflagged = bytearray(data)
    struct.pack_into("<H", unflagged, 6, 0)
    struct.pack_into("<H", unflagged, data.index(b"PK\x01\x02") + 8, 0)
    assert [file.name for file in read_archive(bytes(unflagged), LIMITS)] == ["caf\u00e9.png"]


@pytest.mark.parametrize("name", [".ipynb_checkpoints/a.png", "d/@eaDir/a.png", "d/.x/a.png", "__MACOSX\\._a.png"])
def test_hidden_folders_are_passed_over(name: str) -> None:
    assert [file.name for file in read_archive(make_zip(("a.png", b"x"), (name, b"x")), LIMITS)] == ["a.png"]


NAMELESS = make_zip(("a", b"")).replace(b"a", b"\0")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x05\x06", b"PK\x03\x04" + b"\0" * 100, NAMELESS])
def test_the_beginning_of_a_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"damaged or cut short|holds no file"):
        read_archive(data, LIMITS)


def test_an_archive_without_files_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no file"):
        read_archive(make_zip(("folder/", b"")), LIMITS)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(changes=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=6), cut=st.integers(0, 400))
def test_damaged_files_are_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(make_zip(("cats/a.png", b"abc" * 30), ("b.png", b"")))
    for at, value in changes:
        data[at % len(data)] = value
    with suppress(InvalidInput):
        read_archive(bytes(data[: max(len(data) - cut, 0)] if cut > 200 else data), LIMITS)


def test_features_takes_a_zip_as_body_and_as_part_of_a_form(server: Any, png: bytes, odd_images: Any) -> None:
    data = make_zip(("b.png", png), ("a/grey.png", odd_images["grey.png"]))
    url = "/v1/features"
    body = server.client.post(url, content=data, params={"pool_size": 2}, headers={"Content-Type": "application/zip"})
    assert body.status_code == 200, body.text
    answer = body.json()
    assert answer["names"] == ["a/grey.png", "b.png"]
    assert (len(answer["vectors"]), answer["pool_size"]) == (2, 2)
    form = server.client.post(url, files=[("image", png), ("file", ("images.zip", data))]).json()
    assert form["names"] == ["", "a/grey.png", "b.png"]
    assert len(form["vectors"]) == 3
    assert server.client.post(url, files=[("image", png)]).json()["names"] == []


def test_features_names_the_file_that_is_no_image(server: Any, png: bytes, check_problem: Any) -> None:
    data = make_zip(("a.png", png), ("b.zip", make_zip(("c.png", png))))
    response = server.client.post("/v1/features", content=data, headers={"Content-Type": "application/zip"})
    assert check_problem(response, 422, "invalid-input")["field"] == "b.zip"


def test_bombs_and_paths_are_refused_by_the_server_too(server: Any, png: bytes, check_problem: Any) -> None:
    for data in (make_zip(("a.bmp", bytes(8 * 1024 * 1024))), make_zip(("../a.png", png))):
        response = server.client.post("/v1/features", content=data, headers={"Content-Type": "application/zip"})
        assert check_problem(response, 422, "invalid-input")["field"] == "archive"
        response = server.client.post("/v1/features", files=[("image", data)])
        assert check_problem(response, 422, "invalid-input")["field"] == "archive"


def test_the_bounds_of_one_archive_hold_for_all_of_a_form(start_server: Any, png: bytes, check_problem: Any) -> None:
    server = start_server(limits={"max_archive_bytes": 1024, "max_archive_ratio": 1000})
    data = make_zip(("a.png", png[:600]))
    response = server.client.post("/v1/features", files=[("image", data)] * 2)
    assert check_problem(response, 422, "invalid-input")["field"] == "archive"


def test_a_route_for_one_image_takes_no_zip(server: Any, png: bytes, check_problem: Any) -> None:
    response = server.client.post(
        "/v1/classify/zero-shot", content=make_zip(("a.png", png)), headers={"Content-Type": "application/zip"}
    )
    check_problem(response, 415, "unsupported-body")
