"""The stem of a U-Net: what runs before the first layer that reads the text, once for rows that are equal until there.

Zero-shot classification asks one network about the same noised latent with every label. Until the first cross-attention
the label changes nothing, so the stem of a batch runs on its distinct latents alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from backbones.rows import UNetRow


@contextmanager
def shared_stem(network: nn.Module, rows: Sequence[UNetRow]) -> Iterator[None]:
    """Run the stem of this thread's pass once for rows with the same latents (one tensor), timestep and label.

    Nothing changes where less than half of the rows could share, where rows have banks, or where something inside the
    stem is captured.
    """
    places = _places(rows)
    sharing = rows[0].encoder_hidden_states is not None and 2 * (1 + max(places)) <= len(rows)
    names = stem_names(network) if sharing else ()
    if not names or _look_inside(rows, names):
        yield
        return
    device = next(network.parameters()).device
    all_rows = torch.tensor(places, device=device)
    distinct = torch.tensor([places.index(place) for place in range(1 + max(places))], device=device)
    thread = get_ident()

    # Indexing keeps the layout of a tensor in memory; `index_select` does not.
    def pick(_: nn.Module, arguments: Any, options: Any) -> Any:
        if get_ident() == thread:
            return _map(arguments, lambda tensor: tensor[distinct]), _map(options, lambda tensor: tensor[distinct])
        return None

    def spread(_: nn.Module, __: object, output: Any) -> Any:
        return _map(output, lambda tensor: tensor[all_rows]) if get_ident() == thread else None

    handles = []
    try:
        for name in names:
            module = network.get_submodule(name)
            handles.append(module.register_forward_pre_hook(pick, with_kwargs=True))
            # Prepended, so that a capture sees the output of all rows.
            handles.append(module.register_forward_hook(spread, prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def stem_names(network: nn.Module) -> tuple[str, ...]:
    """The modules that run before the first cross-attention of a stock U-Net with text, without `conv_in`."""
    unet: Any = network
    names: list[str] = []
    for index, level in enumerate(unet.down_blocks):
        if not len(getattr(level, "attentions", ())):
            names.append(f"down_blocks.{index}")
            continue
        names.append(f"down_blocks.{index}.resnets.0")
        blocks = getattr(level.attentions[0], "transformer_blocks", None)
        if blocks and blocks[0].attn1.is_cross_attention is False:
            names.append(f"down_blocks.{index}.attentions.0.transformer_blocks.0.attn1")
        return tuple(names)
    return ()


def _places(rows: Sequence[UNetRow]) -> list[int]:
    """The number of each row's stem, from 0 in the order of the rows."""
    stems: dict[object, int] = {}
    return [
        stems.setdefault((id(row.latents), row.timestep, row.class_label, row.input_convolution), len(stems))
        for row in rows
    ]


def _look_inside(rows: Sequence[UNetRow], names: Sequence[str]) -> bool:
    """Whether a row reads a bank, or captures something inside the modules of these names."""
    inside = tuple(f"{name}." for name in names)
    captures = [row.capture for row in rows]
    captured = [name for capture in captures for name in (*capture.features, *capture.attention_maps)]
    captured += [f"{name}.to_k" for capture in captures for name in capture.keys_values]
    return any(row.bank for row in rows) or any(name.startswith(inside) for name in captured)


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The value with each tensor of a nested tuple or dictionary replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        return tuple(_map(part, function) for part in value)
    if isinstance(value, dict):
        return {key: _map(part, function) for key, part in value.items()}
    return value
