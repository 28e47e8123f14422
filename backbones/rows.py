"""The unit of work: one row of a U-Net batch, what to capture in its pass, and what was captured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class KeysValues:
    """Keys and values of one self-attention layer, after their projections and before the split into heads.

    keys, values: (L, C) in the U-Net's number type, L tokens (h * w for one image; several images concatenate).
    """

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class HiddenStates:
    """The hidden states from which one self-attention layer projects keys and values: half the bytes, the same result.

    states: (L, C) in the U-Net's number type, the layer's input, which its block's first norm gives.
    """

    states: Tensor


Bank = Mapping[str, KeysValues | HiddenStates]
"""Keys and values that a row reads in addition to its own tokens, of one image or of a set, by the diffusers name of
the self-attention layer (`...attn1`). Hidden states are projected again in every pass.
"""


@dataclass(frozen=True, slots=True)
class Capture:
    """What to capture in a row's pass.

    Layers and blocks have their diffusers module names, as in `unet.named_modules()`.
    output: the U-Net's raw output (what diffusers calls `sample`).
    noise_pred: the predicted noise; equal to `output` for epsilon models, converted from v for v-prediction.
    features: modules whose output feature map is wanted ("mid_block", "up_blocks.1.attentions.1", "conv_in", ...).
    attention_maps: cross-attention layers ("...attn2") whose head-averaged maps are wanted.
    keys_values: self-attention layers ("...attn1") whose keys and values are wanted.

    The pass stops after the last module that any row of the batch needs, so a row that captures only early features
    does not pay for the rest if its batch mates do not need it.
    """

    output: bool = False
    noise_pred: bool = False
    features: tuple[str, ...] = ()
    attention_maps: tuple[str, ...] = ()
    keys_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class UNetRow:
    """One U-Net evaluation.

    latents: (C, h, w), noised and scaled; the engine moves and casts them.
    timestep: 0-based index into the training schedule.
    encoder_hidden_states: (T, D) text context; rows of one batch may differ in T. None for networks without text.
    capture: what to return.
    class_label: index into the U-Net's class embedding, if it has one.
    input_convolution: "" for the U-Net's own `conv_in`, else the name of another one that the variant carries.
    bank: keys and values that every self-attention layer named in it reads behind the row's own.
    variant: which U-Net; "" is the backbone's own.
    """

    latents: Tensor
    timestep: int
    encoder_hidden_states: Tensor | None
    capture: Capture
    class_label: int | None = None
    input_convolution: str = ""
    bank: Bank | None = None
    variant: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Captures:
    """The captures of one row, on the device, in the U-Net's number type; empty if not requested.

    output, noise_pred: (C, h, w).
    features: name -> (C, h, w).
    attention_maps: layer -> (T, h, w), probabilities over the T tokens, averaged over heads.
    keys_values: layer -> keys and values, (h * w, C) each.
    """

    output: Tensor | None = None
    noise_pred: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    attention_maps: Mapping[str, Tensor] = field(default_factory=dict)
    keys_values: Mapping[str, KeysValues] = field(default_factory=dict)
