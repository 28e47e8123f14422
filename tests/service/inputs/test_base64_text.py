"""Base64 in pieces: the same bytes as in one step, with any line breaks, and invalid text is refused."""

from __future__ import annotations

import base64
import random

import pytest

from service.inputs.base64_text import decode_base64_text


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 500_000])
def test_pieces_give_what_the_whole_gives(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert decode_base64_text(text) == data
    assert decode_base64_text(" \n".join(text[at : at + 3] for at in range(0, len(text), 3))) == data
    assert decode_base64_text(base64.urlsafe_b64encode(data).decode().rstrip("=")) == data


@pytest.mark.parametrize("text", ["AA==AAAA", "A" * 262_144 + "=AAA", "AAAAA", "AA*A", "ÄAAA", "AA\0A"])
def test_invalid_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (binascii's and codecs' own are among them)
        decode_base64_text(text)
