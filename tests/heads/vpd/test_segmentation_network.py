"""The segmentation network: its output, and its sizes read back from its own weights."""

from __future__ import annotations

import pytest
import torch

from backbones.errors import CheckpointError
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.checkpoint import list_feature_channels
from heads.vpd.segmentation_network import SegmentationNetwork, segmentation_network
from tests.heads.vpd.conftest import CLASSES, random_network


@pytest.fixture(scope="module")
def network(backbone: StableDiffusion) -> SegmentationNetwork:
    segmentation_network = random_network(backbone, "segmentation")
    assert isinstance(segmentation_network, SegmentationNetwork)
    return segmentation_network


@pytest.fixture(scope="module")
def features(backbone: StableDiffusion) -> list[torch.Tensor]:
    """Four maps of a picture of 64 x 64 pixels, finest first."""
    generator = torch.Generator().manual_seed(0)
    fine, middle, coarse, coarsest = list_feature_channels(backbone)
    widths = (fine, middle + CLASSES, coarse + CLASSES, coarsest)
    return [
        torch.randn(1, width, side, side, generator=generator) for width, side in zip(widths, (8, 4, 2, 1), strict=True)
    ]


def test_logits_are_one_a_class(features: list[torch.Tensor], network: SegmentationNetwork) -> None:
    with torch.no_grad():
        logits = network(features)
    assert logits.shape[:2] == (1, CLASSES)


def test_every_class_has_a_token(network: SegmentationNetwork) -> None:
    assert network.contexts().shape == network.class_embeddings.shape


def test_sizes_are_read_from_the_weights(network: SegmentationNetwork) -> None:
    state = network.state_dict()
    again = segmentation_network(state, "memory").state_dict()
    assert {key: tensor.shape for key, tensor in again.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(CheckpointError, match="no VPD segmentation network"):
        segmentation_network({"other": torch.zeros(1)}, "memory")
