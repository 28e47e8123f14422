"""Masks of expressions on the embedded backbone, and which expressions are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from backbones.engine import DirectEngine, complete
from backbones.errors import InvalidInput
from heads.vpd.heads import Head, ReferringHead
from heads.vpd.referring import predict_referring, read_expression

Image = NDArray[np.uint8]
ODD = [(1, 1), (3, 60), (90, 120), (40, 7)]


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.fixture
def referring_head(heads: dict[str, Head]) -> ReferringHead:
    head = heads["referring"]
    assert isinstance(head, ReferringHead)
    return head


@pytest.mark.parametrize("size", ODD)
def test_every_size_gets_a_mask_for_each_expression(
    engine: DirectEngine, referring_head: ReferringHead, size: Any
) -> None:
    masks, read = complete(predict_referring(engine, black(*size), referring_head, ["a two", "a three"]))
    assert masks.masks.shape == (2, *size)
    assert masks.names == ("a two", "a three")
    assert all(0 <= score <= 1 for score in masks.scores)
    assert not any(record.cut for record in read)


def test_expressions_of_one_image_do_not_depend_on_each_other(
    engine: DirectEngine, referring_head: ReferringHead, photo: Image
) -> None:
    both, _ = complete(predict_referring(engine, photo, referring_head, ["a two", "the digit three"]))
    alone, _ = complete(predict_referring(engine, photo, referring_head, ["the digit three"]))
    assert (both.masks[1] == alone.masks[0]).mean() > 0.999


def test_a_long_expression_is_cut_at_a_word(engine: DirectEngine, referring_head: ReferringHead) -> None:
    text = "the two " * 100
    read = read_expression(engine, text, referring_head.tokens)
    assert read.cut
    assert text.startswith(read.read)
    assert len(engine.tokenize([read.read])[0]) <= referring_head.tokens
    longer = f"{read.read} {text.split()[len(read.read.split())]}"
    assert len(engine.tokenize([longer])[0]) > referring_head.tokens


@pytest.mark.parametrize("text", ["", "  \n", "x" * 4000])
def test_an_expression_that_says_nothing_is_refused(
    engine: DirectEngine, referring_head: ReferringHead, text: str
) -> None:
    with pytest.raises(InvalidInput, match=r"expression|word"):
        read_expression(engine, text, referring_head.tokens)


def test_no_expression_is_refused(engine: DirectEngine, referring_head: ReferringHead, photo: Image) -> None:
    with pytest.raises(InvalidInput):
        complete(predict_referring(engine, photo, referring_head, []))
