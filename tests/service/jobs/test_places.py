"""Which places on the server's side a caller may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from backbones.errors import InvalidInput
from service.jobs.places import check_place


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
