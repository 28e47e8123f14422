"""Seconds by stage add up to the time in which anything ran, however stages overlap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.stage_times import share_time

moments = st.integers(0, 40).map(float)
intervals = st.lists(st.tuples(st.sampled_from("abc"), moments, moments), max_size=12)


@settings(deadline=None, derandomize=True)
@given(intervals)
def test_the_sum_is_the_time_in_which_any_stage_ran(of: list[tuple[str, float, float]]) -> None:
    shared = share_time(of)
    ran = sum(any(start <= second < end for _, start, end in of) for second in range(41))
    assert sum(shared.values()) == pytest.approx(ran)
    assert shared.keys() <= {stage for stage, _, _ in of}


def test_stages_one_after_the_other_keep_their_time_and_those_at_once_share_it() -> None:
    assert share_time([("encode", 0, 2), ("unet", 2, 5)]) == {"encode": 2, "unet": 3}
    assert share_time([("unet", 0, 4), ("unet", 0, 4), ("vae_decode", 2, 4)]) == {
        "unet": pytest.approx(2 + 2 * 2 / 3),
        "vae_decode": pytest.approx(2 / 3),
    }
