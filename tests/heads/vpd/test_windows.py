"""Windows cover every pixel."""

from __future__ import annotations

from heads.vpd.windows import even_starts, grid_starts


def test_windows_cover_everything() -> None:
    assert even_starts(640, 480, 2) == [0, 160]
    assert even_starts(641, 480, 3) == [0, 80, 161]
    assert even_starts(2000, 480, 2)[-1] == 1520
    assert even_starts(100, 480, 2) == [0]
    assert grid_starts(400, 256, 170) == [0, 144]
    assert grid_starts(100, 256, 170) == [0]
    for length in range(1, 700, 7):
        starts = even_starts(length, 100, 2)
        covered = {x for start in starts for x in range(start, start + 100)}
        assert covered >= set(range(length))
