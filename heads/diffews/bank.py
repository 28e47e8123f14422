"""From support images with masks to banks: the keys and values that a query reads, and the forms they are stored in.

A bank depends on its own picture and mask alone, so it is computed once, and the bank of a set is the concatenation of
its members'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine, embed_unpadded
from backbones.errors import InvalidInput
from backbones.rows import Bank, Capture, Captures, HiddenStates, KeysValues, UNetRow
from heads.diffews.preprocess import mask_pixel_values, pixel_values, resize_labels

VARIANT = "few_shot"
"""Name under which the fine-tuned U-Net is loaded over its backbone."""
SUPPORT = "support"
"""Name of its second input convolution, which takes picture and mask."""
TIMESTEP = 1
PROMPT = ""

BankForm = Literal["keys_values", "hidden_states"]
"""The stored form of a support: keys and values, or the hidden states that they are projected from, of half the
size.
"""


async def prompt_context(engine: Engine) -> Tensor:
    """The constant text context of all rows, (T, D): start and end token of the empty prompt, without padding."""
    return await embed_unpadded(engine, PROMPT)


def support_row(
    image_latents: Tensor, mask_latents: Tensor, context: Tensor, capture: Capture, *, variant: str = VARIANT
) -> UNetRow:
    """The row of one support.

    image_latents, mask_latents: (C, h, w), scaled. context: (T, D).
    """
    latents = torch.cat([image_latents, mask_latents])
    return UNetRow(latents, TIMESTEP, context, capture, input_convolution=SUPPORT, variant=variant)


async def support_banks(
    engine: Engine,
    images: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    *,
    size: int,
    form: BankForm = "keys_values",
    variant: str = VARIANT,
) -> list[Bank]:
    """The bank of each support, from one U-Net row each that stops at the last self-attention.

    images: (H, W, 3) uint8 RGB each. masks: (H', W') of 0 and 1 each, 1 on the object; squashed to size x size too.
    form: both give the same result; hidden states need half the memory and two more projections in every pass.
    Returns one bank a support, tokens (h * w, C) a layer, on the device.
    Source: DiffewS (arXiv:2410.02369), section 3.3; `diffews/models/attention_processor.py`.
    """
    pixels = await engine.run_on_host(_pictures, images, masks, size)
    encoded = await engine.encode(pixels)
    context = await prompt_context(engine)
    layers = engine.backbone.self_attentions
    capture = bank_capture(layers, form)

    def rows() -> list[UNetRow]:
        scaled = [latents * engine.backbone.scaling_factor for latents in encoded]
        pairs = zip(scaled[: len(images)], scaled[len(images) :], strict=True)
        return [support_row(image, mask, context, capture, variant=variant) for image, mask in pairs]

    captures = await engine.unet(await engine.run(rows))
    return [bank_of(captured, layers, form) for captured in captures]


def bank_capture(layers: Sequence[str], form: BankForm = "keys_values") -> Capture:
    """The capture of the self-attention `layers` for a support's row."""
    if form == "keys_values":
        return Capture(keys_values=tuple(layers))
    return Capture(features=tuple(map(_norm_before, layers)))


def bank_of(captured: Captures, layers: Sequence[str], form: BankForm = "keys_values") -> Bank:
    """The bank from the captures of a support's row: (h * w, C) tensors by layer."""
    if form == "keys_values":
        return dict(captured.keys_values)
    return {layer: HiddenStates(captured.features[_norm_before(layer)]) for layer in layers}


def concatenate_banks(banks: Sequence[Bank]) -> Bank:
    """The bank of a set of supports, their tokens in the order given.

    Raises InvalidInput without banks, and for banks of different forms.
    """
    if not banks:
        raise InvalidInput("supports", "no supports", hint="give one image with its mask at least")
    if len(banks) == 1:
        return banks[0]
    return {layer: _join([bank[layer] for bank in banks]) for layer in banks[0]}


def sample_banks(banks: Sequence[Bank], seed: bytes) -> Bank:
    """The bank of a set, reduced by random sampling to the number of tokens of one member.

    Memory and the cost of a query then no longer grow with the set. In each layer positions are drawn once, the same
    for keys and values, without replacement, by `seed` alone; they keep their order.
    Source: the random sampling of DiffewS, section 4.4, whose code is not published: the way of drawing is ours.
    """
    joined = concatenate_banks(banks)
    return {layer: _draw_tokens(entry, len(banks), seed + layer.encode()) for layer, entry in joined.items()}


def bank_bytes(bank: Bank) -> int:
    """Bytes of all tensors of a bank."""
    return sum(tensor.nbytes for tensor in bank_tensors(bank).values())


def bank_tensors(bank: Bank) -> dict[str, Tensor]:
    """The (L, C) tensors of a bank by `LAYER.key`, `LAYER.value` or `LAYER.hidden`, as files name them."""
    tensors: dict[str, Tensor] = {}
    for layer, entry in bank.items():
        if isinstance(entry, HiddenStates):
            tensors[f"{layer}.hidden"] = entry.states
        else:
            tensors |= {f"{layer}.key": entry.keys, f"{layer}.value": entry.values}
    return tensors


def bank_from_tensors(tensors: Mapping[str, Tensor]) -> Bank:
    """The inverse of `bank_tensors`: (L, C) tensors by name. Raises KeyError if a key has no value."""
    bank: dict[str, KeysValues | HiddenStates] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "hidden":
            bank[layer] = HiddenStates(tensor)
        elif kind == "key":
            bank[layer] = KeysValues(tensor, tensors[f"{layer}.value"])
    return bank


def _pictures(images: Sequence[NDArray[np.uint8]], masks: Sequence[NDArray[np.uint8]], size: int) -> list[Tensor]:
    """The VAE's input: all pictures, then all masks."""
    shown = [mask_pixel_values(resize_labels(mask, size)) for mask in masks]
    return [*(pixel_values(image, size) for image in images), *shown]


def _norm_before(layer: str) -> str:
    """The norm of the same transformer block, whose output the self-attention gets."""
    return f"{layer.rpartition('.')[0]}.norm1"


def _join(entries: Sequence[KeysValues | HiddenStates]) -> KeysValues | HiddenStates:
    pairs = [entry for entry in entries if isinstance(entry, KeysValues)]
    if len(pairs) == len(entries):
        return KeysValues(torch.cat([pair.keys for pair in pairs]), torch.cat([pair.values for pair in pairs]))
    states = [entry.states for entry in entries if isinstance(entry, HiddenStates)]
    if len(states) < len(entries):
        raise InvalidInput("supports", "banks of both forms in one set", hint="compute all in the same form")
    return HiddenStates(torch.cat(states))


def _draw_tokens(entry: KeysValues | HiddenStates, shots: int, seed: bytes) -> KeysValues | HiddenStates:
    tokens = len(entry.states if isinstance(entry, HiddenStates) else entry.keys)
    number = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "little")
    drawn = np.sort(np.random.default_rng(number).choice(tokens, tokens // shots, replace=False))
    if isinstance(entry, HiddenStates):
        return HiddenStates(entry.states[torch.from_numpy(drawn).to(entry.states.device)])
    places = torch.from_numpy(drawn).to(entry.keys.device)
    return KeysValues(entry.keys[places], entry.values[places])
