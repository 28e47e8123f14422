"""Every error is one of diffsight's, and says what to do next."""

from __future__ import annotations

import pytest

from backbones import errors
from backbones.errors import CheckpointError, DiffsightError, InvalidInput, ModelNotFound, Overloaded

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_the_hint_follows_the_message() -> None:
    error = ModelNotFound("there is no folder", hint="name one")
    assert str(error) == "there is no folder: name one"
    assert (error.message, error.hint) == ("there is no folder", "name one")
    assert str(DiffsightError("that is all")) == "that is all"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert all(issubclass(kind, DiffsightError) for kind in KINDS)
    drawn = [line.split()[1] for line in (errors.__doc__ or "").splitlines() if line.startswith(("├", "└"))]
    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS if kind is not DiffsightError)


def test_an_invalid_input_names_its_field() -> None:
    error = InvalidInput("timestep", "1000 is outside 0..999", hint="send less")
    assert error.field == "timestep"
    assert str(error) == "1000 is outside 0..999: send less"


def test_an_overload_says_when_to_retry() -> None:
    assert Overloaded("the queue is full", retry_after_seconds=2.5).retry_after_seconds == 2.5


def test_a_checkpoint_error_lists_keys_and_shortens_long_lists() -> None:
    missing = [f"layer.{number}" for number in range(10)]
    error = CheckpointError("file", "it does not fit", missing=missing, mis_shaped=["a: (1,) where (2,) belongs"])
    assert error.missing == tuple(missing)
    assert error.unexpected == ()
    assert str(error) == (
        "file: it does not fit [10 missing (layer.0, layer.1, layer.2, layer.3, layer.4, layer.5, layer.6, layer.7, "
        "and 2 more); 1 mis-shaped (a: (1,) where (2,) belongs)]"
    )


@pytest.mark.parametrize("lists", [{}, {"missing": []}])
def test_a_checkpoint_error_without_keys_has_no_brackets(lists: dict[str, list[str]]) -> None:
    assert str(CheckpointError("file", "it is damaged", hint="copy it again", **lists)) == (
        "file: it is damaged: copy it again"
    )
