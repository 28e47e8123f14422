"""The form of an answer: by name, by the Accept header, else the first."""

from __future__ import annotations

import pytest

from backbones.errors import InvalidInput
from service.api.formats import choose_format

OFFERED = {"json": "application/json", "png16": "image/png", "npy": "application/x-npy", "colour": "image/png"}


@pytest.mark.parametrize(
    ("requested", "accept", "expected"),
    [
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, "text/html", "json"),
        (None, "image/png", "png16"),
        (None, "image/*;q=0.5, application/json;q=0.4", "png16"),
        (None, "application/x-npy, application/json;q=0.9", "npy"),
        (None, "image/png;q=0, application/json", "json"),
        (None, "image/png;q=high", "png16"),
        ("colour", "application/json", "colour"),
    ],
)
def test_the_form_is_what_was_requested_or_accepted(requested: str | None, accept: str, expected: str) -> None:
    assert choose_format(requested, accept, OFFERED) == expected


def test_a_form_that_is_not_offered_is_refused() -> None:
    with pytest.raises(InvalidInput, match="png16"):
        choose_format("tiff", "", OFFERED)
