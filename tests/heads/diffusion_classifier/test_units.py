"""Blocks of units, and layouts that cannot be visited."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.errors import InvalidInput
from heads.diffusion_classifier.schedule import Schedule, new_timesteps
from heads.diffusion_classifier.units import (
    Layout,
    check_layout,
    default_layout,
    timestep_of,
    units_of,
    visiting_order,
    within_rows,
)


@pytest.mark.parametrize("units", [10, 50, 125, 250, 500, 1000])
def test_units_are_the_timesteps_of_the_published_grid(units: int) -> None:
    (published,) = new_timesteps(Schedule((units,), (1,)))
    assert [timestep_of(unit, units) for unit in range(units)] == published


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 1000), st.integers(1, 1000))
def test_any_number_of_units_is_spread_evenly(units: int, steps: int) -> None:
    units = min(units, steps)
    timesteps = [timestep_of(unit, units, steps) for unit in range(units)]
    assert len(set(timesteps)) == units
    assert 0 <= timesteps[0] <= timesteps[-1] < steps
    # As much room below the first as above the last, up to rounding.
    assert abs(timesteps[0] - (steps - 1 - timesteps[-1])) <= 1


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 3000), st.integers(2, 2000))
def test_ready_layouts_can_be_visited_and_their_blocks_hold_each_unit_once(hypotheses: int, steps: int) -> None:
    layout = default_layout(hypotheses, steps)
    check_layout(layout, steps)
    units = [unit for block in range(layout.blocks) for unit in units_of(layout, block)]
    assert sorted(units) == list(range(layout.units))


def test_the_order_is_a_permutation_that_the_content_decides() -> None:
    order = visiting_order(b"picture", 250)
    assert sorted(order) == list(range(250))
    assert order == visiting_order(b"picture", 250) != visiting_order(b"another", 250)


def test_looks_beyond_the_budget_of_rows_are_left_out() -> None:
    layout = default_layout(10)
    assert layout == Layout(500, 250, (8, 16, 32, 64, 128))
    # 160 rows to the first look; 115 more are 28 blocks of two labels.
    assert within_rows(layout, 275, 10).looks == (8, 16, 32)
    assert within_rows(layout, 5000, 10) == layout
    # Not enough for the first look: one at the end of the rows.
    assert within_rows(layout, 110, 10).looks == (5,)
    assert within_rows(layout, 39, 10).looks == ()
    with pytest.raises(InvalidInput, match="one block of 20"):
        within_rows(layout, 19, 10)


@pytest.mark.parametrize(
    "layout",
    [
        Layout(0, 1, ()),
        Layout(1001, 1001, ()),
        Layout(10, 3, ()),
        Layout(10, 5, (5,)),
        Layout(10, 5, (1,)),
        Layout(10, 5, (3, 2)),
    ],
)
def test_a_layout_that_cannot_be_visited_is_refused(layout: Layout) -> None:
    with pytest.raises(InvalidInput):
        check_layout(layout, 1000)
