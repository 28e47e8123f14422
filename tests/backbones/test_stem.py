"""Rows that differ only in their text share what runs before it, and get what they would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from backbones.captures import forward_rows
from backbones.rows import Capture, Captures, KeysValues, UNetRow
from backbones.stem import stem_names
from tests.backbones.small_networks import SD1, stock_unet

NAMES = ("down_blocks.0.resnets.0", "down_blocks.0.attentions.0.transformer_blocks.0.attn1")
PLAIN_FIRST: dict[str, Any] = {
    **SD1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}


@pytest.fixture(scope="module", params=["attention first", "plain first"])
def network(request: pytest.FixtureRequest) -> Any:
    unet: Any = stock_unet(SD1 if request.param == "attention first" else PLAIN_FIRST, 0)
    return unet.eval().requires_grad_(False)


def make_rows(network: Any, latents: int = 2, texts: int = 3, capture: Capture | None = None) -> list[UNetRow]:
    """Rows of each latent with each text, neighbours with the same latent."""
    torch.manual_seed(0)
    pictures = [torch.randn(network.config.in_channels, 8, 8) for _ in range(latents)]
    contexts = [torch.randn(5, network.config.cross_attention_dim) for _ in range(texts)]
    return [
        UNetRow(picture, 100 * place, context, capture or Capture(output=True))
        for place, picture in enumerate(pictures)
        for context in contexts
    ]


def batch_sizes(network: Any, rows: Sequence[UNetRow], module: str) -> tuple[list[int], list[Captures]]:
    """How many rows a module got in each pass, and the captures."""
    sizes: list[int] = []
    inner = network.get_submodule(module)
    handle = inner.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    try:
        return sizes, forward_rows(network, rows, {})
    finally:
        handle.remove()


def outputs(captures: Sequence[Captures]) -> Tensor:
    return torch.stack([capture.output for capture in captures if capture.output is not None])


def test_the_stem_ends_at_the_first_layer_that_reads_the_text(network: Any) -> None:
    plain = network.config.down_block_types[0] == "DownBlock2D"
    deeper = tuple(name.replace("down_blocks.0", "down_blocks.1") for name in NAMES)
    assert stem_names(network) == (("down_blocks.0", *deeper) if plain else NAMES)


def test_rows_of_one_latent_share_the_stem_and_get_their_own_output(network: Any) -> None:
    rows = make_rows(network)
    sizes, captures = batch_sizes(network, rows, "down_blocks.0.resnets.0.conv1")
    assert sizes == [2]
    alone = outputs([forward_rows(network, [row], {})[0] for row in rows])
    torch.testing.assert_close(outputs(captures), alone, rtol=1e-4, atol=1e-5)
    assert not network.get_submodule("down_blocks.0.resnets.0")._forward_hooks
    assert not network.get_submodule("down_blocks.0.resnets.0")._forward_pre_hooks


def test_the_order_of_rows_does_not_matter(network: Any) -> None:
    rows = make_rows(network)
    order = [3, 0, 5, 1, 4, 2]
    mixed = outputs(forward_rows(network, [rows[place] for place in order], {}))
    torch.testing.assert_close(mixed, outputs(forward_rows(network, rows, {}))[order], rtol=1e-4, atol=1e-5)


def test_other_timesteps_are_other_stems(network: Any) -> None:
    rows = [replace(row, timestep=place) for place, row in enumerate(make_rows(network))]
    assert batch_sizes(network, rows, "down_blocks.0.resnets.0.conv1")[0] == [6]


@pytest.mark.parametrize("shape", [(4, 1), (3, 1), (1, 1)])
def test_rows_that_could_hardly_share_run_as_they_are(network: Any, shape: tuple[int, int]) -> None:
    rows = make_rows(network, *shape)
    assert batch_sizes(network, rows, "down_blocks.0.resnets.0.conv1")[0] == [len(rows)]


def test_what_is_captured_at_the_edge_of_the_stem_is_each_rows_own(network: Any) -> None:
    name = stem_names(network)[0]
    rows = make_rows(network, capture=Capture(features=(name,)))
    sizes, captures = batch_sizes(network, rows, "down_blocks.0.resnets.0.conv1")
    assert sizes == [2]
    for row, capture in zip(rows, captures, strict=True):
        alone = forward_rows(network, [row], {})[0]
        torch.testing.assert_close(capture.features[name], alone.features[name], rtol=1e-4, atol=1e-5)


def test_what_looks_inside_the_stem_runs_every_row(network: Any) -> None:
    attention = stem_names(network)[-1]
    inside = "down_blocks.0.resnets.0.conv1"
    tokens, width = 64 if "down_blocks.0" in attention else 16, network.get_submodule(attention).to_k.out_features
    bank = {attention: KeysValues(torch.randn(tokens, width), torch.randn(tokens, width))}
    for capture in (Capture(features=(inside,)), Capture(output=True, keys_values=(attention,))):
        sizes, captures = batch_sizes(network, make_rows(network, capture=capture), inside)
        assert sizes == [6]
        assert len(captures) == 6
    banked = make_rows(network)
    banked[0] = replace(banked[0], bank=bank)
    assert batch_sizes(network, banked, inside)[0] == [6]
