"""Rows are immutable values, compared by identity and not by their tensors."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from backbones.rows import Capture, Captures, HiddenStates, KeysValues, UNetRow

ROW = UNetRow(torch.zeros(4, 8, 8), 10, torch.zeros(5, 32), Capture(output=True))


def test_a_plain_row_runs_the_backbones_own_network() -> None:
    assert (ROW.variant, ROW.input_convolution, ROW.bank, ROW.class_label) == ("", "", None, None)


def test_a_capture_asks_for_nothing_by_itself() -> None:
    assert Capture() == Capture(False, False, (), (), ())
    assert hash(Capture(features=("mid_block",))) == hash(Capture(features=("mid_block",)))


def test_captures_are_empty_by_themselves() -> None:
    captures = Captures()
    assert captures.output is None
    assert captures.noise_pred is None
    assert (captures.features, captures.attention_maps, captures.keys_values) == ({}, {}, {})


@pytest.mark.parametrize(
    "pair",
    [
        [UNetRow(ROW.latents, 10, ROW.encoder_hidden_states, ROW.capture) for _ in range(2)],
        [KeysValues(torch.zeros(2, 4), torch.zeros(2, 4)) for _ in range(2)],
        [HiddenStates(torch.zeros(2, 4)) for _ in range(2)],
    ],
)
def test_values_with_tensors_are_compared_by_identity(pair: list[object]) -> None:
    first, second = pair
    assert first != second
    assert {first: 1, second: 2}[second] == 2


def test_a_row_is_not_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ROW.timestep = 3  # type: ignore[misc]
