"""Chosen files as the images of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from playground.panels.inputs import NothingChosen, _choose_image, _several_images, _with_supports
from playground.panels.supports import Example


def test_one_image_several_and_examples() -> None:
    assert _choose_image("/tmp/a.png").images == [("image", Path("/tmp/a.png"))]
    assert [field for field, _ in _several_images(["/tmp/a.png", "/tmp/b.zip"]).images] == ["images", "images"]
    chosen = _with_supports(["/tmp/a.png", [Example(b"i", b"m"), Example(b"j", b"n")]])
    assert chosen.images[1:] == [
        *(("support_images", b"i"), ("support_images", b"j")),
        *(("support_masks", b"m"), ("support_masks", b"n")),
    ]
    assert chosen.names[-1] == ("support_masks", "example-2-mask.png")


def test_nothing_chosen_says_what_to_do() -> None:
    with pytest.raises(NothingChosen, match="first"):
        _choose_image(None)
    with pytest.raises(NothingChosen, match="first"):
        _several_images([])
    with pytest.raises(NothingChosen, match="first"):
        _with_supports([None, []])
