"""Sizes of the published heads, on the meta device."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from backbones.loading.guided_diffusion import PUBLISHED_256
from heads.feature_pooling import published


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_heads_have_the_published_sizes() -> None:
    with torch.device("meta"):
        fusion = published.attention_head(blocks=published.FUSION_BLOCKS, timesteps=len(published.FUSION_TIMESTEPS))
        assert parameters(published.linear_head()) == 4_097_000
        assert parameters(published.attention_head()) == 27_786_216
        assert parameters(fusion) == 31_802_344


@pytest.mark.parametrize(
    ("block", "shape"),
    [(1, (256, 256)), (4, (256, 128)), (9, (512, 64)), (13, (512, 16)), (19, (1024, 8)), (22, (1024, 16)),
     (24, (1024, 16)), (25, (1024, 32)), (30, (512, 64)), (34, (256, 256)), (37, (256, 256))],
)  # fmt: skip
def test_block_shapes_of_the_published_network(block: int, shape: tuple[int, int]) -> None:
    assert published.block_shapes(PUBLISHED_256)[block - 1] == shape
