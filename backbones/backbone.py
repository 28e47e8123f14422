"""The interface of a backbone: its description, and the protocol that an engine drives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from backbones.activation_memory import UNKNOWN, ActivationBytes
from backbones.rows import Captures, UNetRow

PredictionType = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, slots=True, eq=False)
class Description:
    """The facts about a backbone that heads use.

    revision: digest of the weights; changes when any answer could.
    image_size: native height and width in pixels. latent_channels, downscale: latents are (C, H / downscale, ...).
    scaling_factor: what unscaled latents are multiplied by before the U-Net sees them (0.18215 in SD).
    prediction_type: of the backbone's own U-Net. alphas_cumprod: (steps,), share of signal at each training timestep.
    max_tokens: length that prompts are padded and cut to, start and end included; 0 for a network without text.
    num_class_labels: size of the U-Net's class embedding, 0 if it has none.
    variants: names of further U-Nets that rows may use; "" is the backbone's own U-Net.
    sub_blocks: feature maps that rows may capture, by diffusers name, in the order in which the U-Net computes them.
    self_attentions: layers whose keys and values rows may capture and read from a bank, by diffusers name.
    variant_revisions: digest of each variant's own weights, by its name; "" is the backbone's own U-Net.
    class_names: what each class of the class embedding is called, where that is known.
    activation_bytes: memory of a batch, by pixel and by latent position.
    """

    name: str
    revision: str
    image_size: int
    latent_channels: int
    downscale: int
    scaling_factor: float
    prediction_type: PredictionType
    alphas_cumprod: Tensor = field(repr=False)
    max_tokens: int
    num_class_labels: int
    variants: tuple[str, ...]
    dtype: torch.dtype
    device: torch.device
    sub_blocks: tuple[str, ...] = ()
    self_attentions: tuple[str, ...] = ()
    variant_revisions: Mapping[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    activation_bytes: ActivationBytes = UNKNOWN

    @property
    def class_conditional(self) -> bool:
        """Whether the network is conditioned on classes instead of text."""
        return self.num_class_labels > 0 and not self.max_tokens


class Backbone(Protocol):
    """A backbone for an engine: batches in, results out in the same order.

    All items of a call share one `batch_key`.
    """

    @property
    def description(self) -> Description: ...
    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]: ...
    def check(self, row: UNetRow) -> None: ...
    def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]: ...
    def embed(self, texts: Sequence[str]) -> list[Tensor]: ...
    def forward(self, rows: Sequence[UNetRow]) -> list[Captures]: ...
    def decode(self, latents: Sequence[Tensor]) -> list[Tensor]: ...
