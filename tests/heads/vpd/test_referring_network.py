"""The referring network: its output, and its sizes read back from its own weights."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import CheckpointError
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import list_feature_channels
from heads.vpd.referring_network import ReferringNetwork, referring_network, token_length
from tests.heads.vpd.conftest import TOKENS, random_network


@pytest.fixture(scope="module")
def network(backbone: StableDiffusion) -> ReferringNetwork:
    referring_network = random_network(backbone, "referring")
    assert isinstance(referring_network, ReferringNetwork)
    return referring_network


@pytest.fixture(scope="module")
def features(backbone: StableDiffusion) -> list[torch.Tensor]:
    """Four maps of a picture of 64 x 64 pixels, finest first."""
    generator = torch.Generator().manual_seed(0)
    fine, middle, coarse, coarsest = list_feature_channels(backbone)
    widths = (fine, middle + TOKENS, coarse + TOKENS, coarsest)
    return [
        torch.randn(1, width, side, side, generator=generator) for width, side in zip(widths, (8, 4, 2, 1), strict=True)
    ]


def test_logits_are_those_of_rest_and_object(features: list[torch.Tensor], network: ReferringNetwork) -> None:
    with torch.no_grad():
        logits = network(features)
    assert logits.shape == (1, 2, 8, 8)


def test_the_number_of_tokens_is_read_from_the_input(backbone: StableDiffusion, network: ReferringNetwork) -> None:
    assert token_length(network, list_feature_channels(backbone)) == TOKENS


def test_sizes_are_read_from_the_weights(network: ReferringNetwork) -> None:
    state = network.state_dict()
    again = referring_network(state, "memory").state_dict()
    assert {key: tensor.shape for key, tensor in again.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no VPD referring network"):
        referring_network({"other": torch.zeros(1)}, "memory")
