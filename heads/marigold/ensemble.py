"""Combine several predictions of one image, with a map of how much they differ.

Source: Marigold (arXiv:2312.02145), section 3.3; (arXiv:2505.09358) for normals; diffusers' `ensemble_depth` and
`ensemble_normals`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

DepthReduction = Literal["median", "mean"]
NormalsReduction = Literal["closest", "mean"]
Alignment = Literal["stable", "published"]

_REGULARISER = 0.02
_STEPS = 2
_TOLERANCE = 1e-3
_ALIGNED_AT = 1024
# Width of the rounded corner of |x| at 0. The start has both errors at 0, where rounding would decide the gradient.
_CORNER = 0.01
_LEAST_RANGE = 1e-6


def ensemble_depth(
    members: Tensor,
    *,
    reduction: DepthReduction = "median",
    alignment: Alignment = "stable",
    scale_invariant: bool = True,
    shift_invariant: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """One depth map out of several that agree up to scale and shift, and their spread.

    members: (E, 1, h, w) float32, 0..1. scale_invariant, shift_invariant: whether the network's depth is defined up to
    scale and shift. alignment: "published" runs diffusers' own function. It finds its gradient by finite differences of
    float32 sums, so members that differ by rounding alone may give maps that differ visibly. "stable" minimises the
    same objective in as many steps, by its exact gradient in float64: the same members give the same map whatever batch
    they were in.
    Returns (1, h, w) float32, 0..1, and the spread in the same unit, None for a single member.
    """
    if len(members) == 1:
        return members[0], None
    if alignment == "published":
        from diffusers import MarigoldDepthPipeline  # takes seconds: only this option pays for it

        depth, spread = MarigoldDepthPipeline.ensemble_depth(
            members, scale_invariant, shift_invariant, output_uncertainty=True, reduction=reduction
        )
        return depth[0], spread[0]
    aligned = members
    if scale_invariant:
        scales, shifts = align_members(members, reduction=reduction, shift=shift_invariant)
        aligned = members * _column(scales) + _column(shifts)
    depth, spread = _reduce(aligned, reduction)
    low = depth.min() if shift_invariant else depth.new_zeros(())
    extent = (depth.max() - low).clamp_min(_LEAST_RANGE)
    return (depth - low) / extent, spread / extent


def ensemble_normals(members: Tensor, *, reduction: NormalsReduction = "closest") -> tuple[Tensor, Tensor | None]:
    """One map of normals out of several, and their spread.

    members: (E, 3, h, w) float32, unit vectors. reduction: the member closest to the mean at each pixel, or the mean.
    Returns unit vectors (3, h, w), and the mean angle to the mean as a share of a half turn (1, h, w), None for a
    single member.
    """
    if len(members) == 1:
        return members[0], None
    mean = unit_vectors(members.mean(dim=0))
    cosines = (mean * members).sum(dim=1, keepdim=True).clamp(-1, 1)
    spread = cosines.arccos().mean(dim=0) / np.pi
    if reduction == "mean":
        return mean, spread
    closest = cosines.argmax(dim=0, keepdim=True).expand(-1, 3, -1, -1)
    return members.gather(0, closest)[0], spread


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors (..., 3, h, w) scaled to length 1; vectors shorter than 1e-6 end up shorter than 1."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-3, keepdim=True)
    return vectors / lengths.clamp_min(_LEAST_RANGE)


def align_members(
    members: Tensor, *, reduction: DepthReduction, shift: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift of each member, (E,) float64 each, that bring members together and their reduction to 0..1.

    members: (E, 1, h, w) float32. shift: whether shifts are free; without it they are 0.
    Two steps of BFGS from each member's own range, as published: further ones would shrink all scales towards 0.
    """
    largest = max(members.shape[-2:])
    if largest > _ALIGNED_AT:
        size = [side * _ALIGNED_AT // largest for side in members.shape[-2:]]
        members = functional.interpolate(members, size, mode="nearest-exact")
    objective = _Objective(members.flatten(1).double().cpu().numpy(), reduction, shift)
    solution = minimize(
        objective, objective.start(), jac=True, method="BFGS", tol=_TOLERANCE, options={"maxiter": _STEPS}
    ).x
    return objective.split(solution)


class _Objective:
    """The sum of root mean square differences of all pairs of aligned members, and how far their reduction is off 0..1.

    maps: (E, N) float64. Means of squares and products are enough for the pairs: the maps are read once.
    """

    def __init__(self, maps: NDArray[np.float64], reduction: DepthReduction, shift: bool) -> None:
        self.maps, self.reduction, self.shift = maps, reduction, shift
        self.products = maps @ maps.T / maps.shape[1]
        self.means = maps.mean(axis=1)
        self.first, self.second = np.triu_indices(len(maps), 1)

    def start(self) -> NDArray[np.float64]:
        """Each member's own range goes to 0..1."""
        low, high = self.maps.min(axis=1), self.maps.max(axis=1)
        if not self.shift:
            return np.asarray(1 / np.maximum(high, _LEAST_RANGE))
        scales = 1 / np.maximum(high - low, _LEAST_RANGE)
        return np.concatenate([scales, -scales * low])

    def split(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scales and shifts, (E,) each."""
        scales = parameters[: len(self.maps)]
        return scales, parameters[len(self.maps) :] if self.shift else np.zeros_like(scales)

    def __call__(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scales, shifts = self.split(parameters)
        cost, by_scale, by_shift = self._pairs(scales, shifts)
        aligned = scales[:, None] * self.maps + shifts[:, None]
        middle = (len(aligned) - 1) // 2
        reduced = np.partition(aligned, middle, axis=0)[middle] if self.reduction == "median" else aligned.mean(axis=0)
        for pixel, belongs in ((int(reduced.argmin()), 0.0), (int(reduced.argmax()), 1.0)):
            error = float(reduced[pixel]) - belongs
            length = float(np.hypot(error, _CORNER))
            cost += _REGULARISER * (length - _CORNER)
            share = np.full(len(aligned), 1 / len(aligned))
            if self.reduction == "median":
                share = np.zeros(len(aligned))
                share[np.abs(aligned[:, pixel] - reduced[pixel]).argmin()] = 1
            slope = _REGULARISER * error / length * share
            by_scale += slope * self.maps[:, pixel]
            by_shift += slope
        return cost, np.concatenate([by_scale, by_shift]) if self.shift else by_scale

    def _pairs(
        self, scales: NDArray[np.float64], shifts: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The pairs' part of the cost, and its derivatives by scales and by shifts, (E,) each."""
        # Entry (i, j) of each matrix belongs to the difference of member i and member j.
        shift = shifts[:, None] - shifts[None]
        mean = scales * self.means
        mean = mean[:, None] - mean[None] + shift
        own = scales**2 * np.diag(self.products)
        squares = own[:, None] + own[None] - 2 * np.outer(scales, scales) * self.products
        squares = np.maximum(squares + 2 * shift * mean - shift**2, 0)
        distances = np.sqrt(squares)
        inverse = np.divide(1, distances, out=np.zeros_like(distances), where=distances > 1e-9)
        onto = scales[:, None] * np.diag(self.products)[:, None] - scales[None] * self.products
        onto = (onto + shift * self.means[:, None]) * inverse
        cost = float(distances[self.first, self.second].sum())
        return cost, onto.sum(axis=1), (mean * inverse).sum(axis=1)


def _reduce(aligned: Tensor, reduction: DepthReduction) -> tuple[Tensor, Tensor]:
    """The reduction over members and its spread, (1, h, w) each."""
    if reduction == "mean":
        return aligned.mean(dim=0), aligned.std(dim=0)
    median = aligned.median(dim=0).values
    return median, (aligned - median).abs().median(dim=0).values


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values).float().view(-1, 1, 1, 1)
