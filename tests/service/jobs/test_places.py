"""Which folders and addresses of the server a caller may name."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from backbones.errors import InvalidInput
from service.jobs.places import check_item, check_place


@pytest.mark.field
def test_a_folder_with_the_name_of_a_pattern_is_a_place_of_its_own(tmp_path: Path) -> None:
    allowed = tmp_path / "shoot [2023]"
    (allowed / "a*b").mkdir(parents=True)
    (allowed / "a*b" / "link").symlink_to(tmp_path)
    places = (str(allowed),)
    for inside in (allowed, allowed / "x.png", allowed / "a*b" / "x.png"):
        check_place(str(inside), places, field="source")
        check_item(str(inside), LocalFileSystem(), places)
    for outside in (tmp_path / "shoot [2023]b", allowed / "a*b" / "link" / "x.png"):
        with pytest.raises(InvalidInput, match="may not read there"):
            check_place(str(outside), places, field="source")
        with pytest.raises(InvalidInput, match="may not read there"):
            check_item(str(outside), LocalFileSystem(), places)


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("{a}", True),
        ("{a}/b/*.png", True),
        ("file://{a}/b", True),
        ("{a}*", False),
        ("{a}/../c", False),
        ("{a}/link/x.png", False),
        ("{a}/link/*", False),
        ("s3://bucket/allowed/x", True),
        ("s3://bucket/allowed", True),
        ("s3://bucket/allowed2/x", False),
        ("s3://bucket/allowed/../x", False),
        ("zip://x::s3://bucket/allowed/y.zip", False),
        ("s3://bucket/allowed/y::file:///etc", False),
        ("data:text/plain,x", False),
        ("", False),
    ],
)
def test_places_are_compared_as_they_will_be_opened(tmp_path: Path, address: str, inside: bool) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(tmp_path)
    places = (str(allowed), "s3://bucket/allowed/")
    if inside:
        check_place(address.format(a=allowed), places, field="source")
        return
    with pytest.raises(InvalidInput, match="may not read there"):
        check_place(address.format(a=allowed), places, field="source")
