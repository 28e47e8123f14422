"""Depth up to scale and shift compared with metres, by the affine-invariant protocol, and normals by their angles.

Source of the protocol: Ranftl et al. (arXiv:1907.01341), section 6, as applied to depth in Marigold (arXiv:2312.02145),
section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from backbones.engine import Engine, complete
from heads.inputs import DecodedImage, Inputs
from heads.marigold.depth import RelativeDepthOptions, run_relative_depth
from heads.marigold.metric import least_squares
from heads.marigold.model import MarigoldModel
from heads.marigold.normals import NormalsOptions, run_normals
from heads.vpd.metrics import depth_figures, mean_figures, valid_depth
from training.datasets.depth_normals import normals_of_depth
from training.datasets.public_dense import NYU_SIZE, Truth

LEAST_METRES, MOST_METRES = 0.001, 10.0


def evaluate_relative_depth(
    engine: Engine,
    model: MarigoldModel,
    samples: Iterable[Truth],
    options: RelativeDepthOptions,
    *,
    eigen: bool = True,
) -> dict[str, float]:
    """Means of the figures of single images. eigen: count only the Eigen crop, of 480 x 640 pictures."""
    figures = []
    for sample in tqdm(samples, desc="depth-relative"):
        inputs = Inputs([DecodedImage(sample.image)])
        depth = complete(run_relative_depth(engine, model, inputs, options)).depth
        figures.append(score_aligned_depth(depth, sample.truth, eigen=eigen))
    return mean_figures(figures)


def score_aligned_depth(
    depth: NDArray[np.float32], truth: NDArray[np.float32], *, eigen: bool = False
) -> dict[str, float]:
    """The figures of one image after scale and shift are fitted to its truth: AbsRel is `abs_rel`, delta 1 is `d1`.

    depth: (H, W) float32, any unit. truth: (H, W) float32 metres, 0 if there is none. Aligned depth is clipped to the
    range of distances that count, 1 mm to 10 m.
    """
    metres = torch.from_numpy(truth)
    valid = valid_depth(metres, eigen=eigen and tuple(metres.shape) == NYU_SIZE, low=LEAST_METRES, high=MOST_METRES)
    chosen = valid.numpy()
    if not chosen.any():
        return {"n_valid": 0}
    scale, shift = least_squares(depth[chosen], truth[chosen])
    aligned = np.clip(scale * depth + shift, LEAST_METRES, MOST_METRES).astype(np.float32)
    return depth_figures(torch.from_numpy(aligned), metres, valid)


def evaluate_normals(
    engine: Engine, model: MarigoldModel, samples: Iterable[Truth], options: NormalsOptions, field_of_view: float
) -> dict[str, float]:
    """`score_angles` over all pixels with a known normal, and the same for the mean of all true normals.

    samples: their truth is depth in metres, from which normals are computed. field_of_view: see `normals_of_depth`.
    Without such pixels there are no figures.
    """
    figures, truths = [], []
    for sample in tqdm(samples, desc="normals"):
        truth, valid = normals_of_depth(sample.truth, field_of_view)
        vectors = complete(run_normals(engine, model, Inputs([DecodedImage(sample.image)]), options)).vectors
        figures.append(vectors[valid])
        truths.append(truth[valid])
    if not sum(map(len, truths)):
        return {}
    predicted, true = np.concatenate(figures), np.concatenate(truths)
    mean = true.mean(axis=0, dtype=np.float64)
    constant = np.broadcast_to((mean / np.linalg.norm(mean)).astype(np.float32), true.shape)
    guess = {f"constant_{name}": value for name, value in score_angles(constant, true).items()}
    return {**score_angles(predicted, true), **guess, "n_valid": len(true)}


def score_angles(vectors: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """Mean and median angle in degrees between unit vectors (N, 3) and true ones, and shares below three bounds.

    Source of the measures: Fouhey et al., "Data-Driven 3D Primitives for Single Image Understanding" (ICCV 2013).
    """
    angles = np.degrees(np.arccos(np.clip((vectors * truth).sum(axis=1), -1, 1)))
    shares = {f"below_{bound}": float((angles < bound).mean()) for bound in (11.25, 22.5, 30)}
    return {"mean_angle": float(angles.mean()), "median_angle": float(np.median(angles)), **shares}
