"""Ensembles: the alignment does not depend on rounding, and its gradient is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from torch import Tensor
from torch.nn import functional

from heads.marigold.ensemble import _Objective, align_members, ensemble_depth, ensemble_normals, unit_vectors


def depth_members(count: int, size: int = 32) -> Tensor:
    """(count, 1, size, size): a slope with a box, each time at another scale and shift, with smooth errors."""
    generator = torch.Generator().manual_seed(count)
    true = torch.linspace(0.1, 0.9, size).expand(size, size).clone()
    true[8:16, 8:16] = 0.3
    errors = torch.randn(count, 1, 4, 4, generator=generator)
    smooth = 0.02 * functional.interpolate(errors, (size, size), mode="bilinear")
    scales = torch.linspace(0.6, 1, count).view(-1, 1, 1, 1)
    return (scales * true + 0.1 * (1 - scales) + smooth).clamp(0, 1)


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("reduction", ["median", "mean"])
@pytest.mark.parametrize("count", [2, 5])
def test_the_gradient_is_that_of_the_objective(count: int, reduction: Any, shift: bool) -> None:
    objective = _Objective(depth_members(count).flatten(1).double().numpy(), reduction, shift)
    start = objective.start()
    place = start + 0.01 * np.arange(1, len(start) + 1)
    error = check_grad(lambda values: objective(values)[0], lambda values: objective(values)[1], place)
    assert error < 1e-5 * np.linalg.norm(objective(place)[1]) + 1e-6


@pytest.mark.parametrize("reduction", ["median", "mean"])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_rounding_of_the_members_does_not_show(count: int, reduction: Any) -> None:
    members = depth_members(count)
    noise = 1e-6 * torch.randn(members.shape, generator=torch.Generator().manual_seed(0))
    depth, spread = ensemble_depth(members, reduction=reduction)
    other, other_spread = ensemble_depth(members + noise, reduction=reduction)
    assert spread is not None
    assert other_spread is not None
    assert float((depth - other).abs().max()) < 2e-4
    assert float((spread - other_spread).abs().max()) < 2e-4
    assert (float(depth.min()), float(depth.max())) == pytest.approx((0, 1))


def test_members_that_differ_in_scale_and_shift_alone_are_one() -> None:
    (true,) = depth_members(1)
    depth, spread = ensemble_depth(torch.stack([true, 0.5 * true + 0.2, 0.8 * true]))
    torch.testing.assert_close(depth, (true - true.min()) / (true.max() - true.min()), atol=1e-5, rtol=0)
    assert spread is not None
    assert float(spread.max()) < 1e-5


def test_without_shifts_depth_keeps_its_zero() -> None:
    members = depth_members(3)
    scales, shifts = align_members(members, reduction="median", shift=False)
    assert (shifts == 0).all()
    assert (scales > 0).all()
    depth, _ = ensemble_depth(members, shift_invariant=False)
    assert float(depth.min()) > 0
    assert float(depth.max()) == pytest.approx(1)


def test_the_mean_differs_little_from_that_of_the_original_code() -> None:
    members = depth_members(4)
    stable, _ = ensemble_depth(members, reduction="mean")
    published, _ = ensemble_depth(members, reduction="mean", alignment="published")
    assert float((stable - published).abs().max()) < 5e-3


def test_equal_members_have_no_spread() -> None:
    depth, spread = ensemble_depth(depth_members(1).expand(3, -1, -1, -1))
    assert torch.isfinite(depth).all()
    assert spread is not None
    assert float(spread.max()) == 0
    flat, _ = ensemble_depth(torch.full((3, 1, 4, 4), 0.5))
    assert torch.isfinite(flat).all()


def test_normals_are_unit_vectors_and_spread_is_an_angle() -> None:
    vectors = unit_vectors(torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(1)))
    for reduction in ("closest", "mean"):
        normals, spread = ensemble_normals(vectors, reduction=reduction)
        torch.testing.assert_close(torch.linalg.vector_norm(normals, dim=0), torch.ones(5, 6))
        assert spread is not None
        assert 0 < float(spread.min()) <= float(spread.max()) <= 1
    opposite = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1) * torch.tensor([1.0, 1.0, -1.0]).view(3, 1, 1, 1)
    _, half = ensemble_normals(opposite)
    assert half is not None
    assert float(half) == pytest.approx(1 / 3)
    assert ensemble_normals(vectors[:1])[1] is None
