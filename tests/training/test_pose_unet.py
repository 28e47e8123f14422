"""The hole of in-painting beside a fine-tuned U-Net."""

from __future__ import annotations

import numpy as np
import torch

from training.pose_unet import with_hole


def test_the_hole_is_black_and_of_the_published_size() -> None:
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(50):
        black = (with_hole(torch.ones(3, 100, 50), generator) == -1)[0]
        rows, columns = black.any(1).sum() / 100, black.any(0).sum() / 50
        assert black.sum() == black.any(1).sum() * black.any(0).sum()
        shares += [float(rows), float(columns)]
    assert 0.19 < min(shares) < 0.25
    assert 0.35 < max(shares) < 0.41
