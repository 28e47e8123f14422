"""The start of a fine-tuning for depth and normals, and its training data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backbones.captures import forward_rows
from backbones.loading.source import open_backbone
from backbones.rows import Capture, UNetRow
from backbones.stable_diffusion import StableDiffusion
from heads.marigold.model import PAIR
from training.marigold import START_TIMESTEP, TIMESTEP, fresh_pair_variant, one_step_loss, paint_depth


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    backbone = open_backbone("pocket")
    assert isinstance(backbone, StableDiffusion)
    return backbone


def test_a_fresh_network_sees_the_image_as_the_backbone_does(model: StableDiffusion) -> None:
    variant = fresh_pair_variant(model)
    image = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0))
    context = torch.zeros(3, 96)
    pair = UNetRow(
        torch.cat([image, torch.zeros_like(image)]), TIMESTEP, context, Capture(output=True), input_convolution=PAIR
    )
    alone = UNetRow(image, START_TIMESTEP, context, Capture(output=True))
    with torch.no_grad():
        (pair_captures,) = forward_rows(variant.unet, [pair], variant.input_convolutions)
        (other,) = forward_rows(model.variants[""].unet, [alone], {})
    torch.testing.assert_close(pair_captures.output, other.output, atol=1e-4, rtol=1e-4)


def test_depth_is_painted_by_its_percentiles_and_gaps_do_not_count(model: StableDiffusion) -> None:
    metres = np.linspace(1, 9, 100, dtype=np.float32).reshape(10, 10)
    metres[0, 0], metres[9, 9], metres[5] = 0.001, 60, 0
    painted, valid = paint_depth(metres)
    assert painted.shape == (10, 10, 3)
    assert painted[0, 0, 0] == -1
    assert painted[9, 9, 0] == 1
    assert not valid[5].any()
    assert painted[4, 5, 0] == pytest.approx(painted[4, 4, 0] / 2 + painted[4, 6, 0] / 2, abs=1e-5)

    variant = fresh_pair_variant(model)
    image, truth = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(1)).unbind()
    gap = torch.ones(16, 16, dtype=torch.bool)
    gap[:, 8:] = False
    other = torch.where(gap, truth, 100.0)
    context = torch.zeros(3, 96)
    with torch.no_grad():
        losses = [
            float(one_step_loss(variant, [(image, metres_of_case, gap)], context)) for metres_of_case in (truth, other)
        ]
    assert losses[0] == pytest.approx(losses[1])
