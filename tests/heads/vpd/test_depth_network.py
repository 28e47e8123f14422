"""The depth network: its output, and its sizes read back from its own weights."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import CheckpointError
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import list_feature_channels
from heads.vpd.depth_network import DepthNetwork, depth_network
from tests.heads.vpd.conftest import random_network


@pytest.fixture(scope="module")
def network(backbone: StableDiffusion) -> DepthNetwork:
    depth_network = random_network(backbone, "depth")
    assert isinstance(depth_network, DepthNetwork)
    return depth_network


@pytest.fixture(scope="module")
def features(backbone: StableDiffusion) -> list[torch.Tensor]:
    """Four maps of a picture of 64 x 64 pixels, finest first."""
    generator = torch.Generator().manual_seed(0)
    fine, middle, coarse, coarsest = list_feature_channels(backbone)
    widths = (fine, middle, coarse, coarsest)
    return [
        torch.randn(1, width, side, side, generator=generator) for width, side in zip(widths, (8, 4, 2, 1), strict=True)
    ]


def test_metres_lie_below_the_largest_and_fill_the_size(features: list[torch.Tensor], network: DepthNetwork) -> None:
    with torch.no_grad():
        metres = network(features, (40, 50), 8.0)
    assert metres.shape == (1, 40, 50)
    assert ((metres > 0) & (metres < 8)).all()


def test_sizes_are_read_from_the_weights(network: DepthNetwork) -> None:
    state = network.state_dict()
    again = depth_network(state, "memory").state_dict()
    assert {key: tensor.shape for key, tensor in again.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no VPD depth network"):
        depth_network({"other": torch.zeros(1)}, "memory")
