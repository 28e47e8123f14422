"""Settings of Python's interpreter for a server."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from service.interpreter import keep_for_good, switch_often


class Node:
    """Something that can be part of a cycle."""

    other: Node


@pytest.fixture
def thawed() -> Iterator[None]:
    interval = sys.getswitchinterval()
    yield
    gc.unfreeze()
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("thawed")
def test_what_is_kept_for_good_is_freed_by_references_alone() -> None:
    alone, one, two = Node(), Node(), Node()
    one.other, two.other = two, one
    references = [weakref.ref(node) for node in (alone, one, two)]
    keep_for_good()
    del alone, one, two
    gc.collect()
    assert [reference() is None for reference in references] == [True, False, False]


@pytest.mark.usefixtures("thawed")
def test_threads_yield_sooner_than_python_lets_them() -> None:
    sys.setswitchinterval(0.005)
    switch_often()
    assert sys.getswitchinterval() < 0.001
