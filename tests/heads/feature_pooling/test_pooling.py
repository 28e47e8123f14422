"""Windows of the average."""

from __future__ import annotations

import math

import pytest
import torch

from heads.feature_pooling.pooling import pool


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 8, 2), (5, 7, 3), (16, 16, 5), (2, 2, 8), (1, 1, 4), (3, 3, 1)]
)
def test_windows_overlap_where_the_grid_does_not_divide_and_repeat_where_it_is_finer(
    height: int, width: int, size: int
) -> None:
    features = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    expected = torch.empty(2, 3, size, size)
    for i in range(size):
        for j in range(size):
            rows = slice(i * height // size, math.ceil((i + 1) * height / size))
            columns = slice(j * width // size, math.ceil((j + 1) * width / size))
            expected[:, :, i, j] = features[:, :, rows, columns].mean(dim=(2, 3))
    torch.testing.assert_close(pool(features, size), expected.flatten(1))


def test_half_precision_maps_are_averaged_in_float32() -> None:
    features = torch.full((4, 64, 64), 1000.0, dtype=torch.float16)
    assert pool(features, 1).tolist() == [1000.0] * 4
    assert pool(features, 1).dtype == torch.float32
