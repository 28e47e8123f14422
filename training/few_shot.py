"""Fine-tuning a U-Net for few-shot segmentation, as DiffewS was: one step from picture to mask, in latent space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from backbones.captures import forward_rows
from backbones.rows import Bank
from backbones.stable_diffusion import Variant
from heads.diffews.bank import bank_capture, bank_of, concatenated, support_row
from heads.diffews.segment import query_row

LatentPair = tuple[Tensor, Tensor]
"""Scaled latents of a picture and of its mask, (C, h, w) each."""


def episode_loss(
    variant: Variant, supports: Sequence[Sequence[LatentPair]], queries: Sequence[LatentPair], context: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean squared error between the U-Net's output and minus the latent of the query's mask.

    supports: those of each query, one at least, of any numbers. queries: one an episode. context: (T, D).
    Returns the loss, a scalar, and the outputs (B, C, h, w). Nothing is detached: the second input convolution and the
    support pass learn through the keys and values that the queries read.
    Source: `train_tools/train_icl_multitask_nocrop_nearest_nshot_v3.py`.
    """
    layers = self_attentions(variant)
    capture = bank_capture(layers)
    rows = [support_row(*pair, context, capture) for episode in supports for pair in episode]
    captured = iter(forward_rows(variant.unet, rows, variant.input_convolutions))
    banks: list[Bank] = [concatenated([bank_of(next(captured), layers) for _ in episode]) for episode in supports]
    asked = [query_row(latents, context, bank) for (latents, _), bank in zip(queries, banks, strict=True)]
    outputs = [one.output for one in forward_rows(variant.unet, asked, variant.input_convolutions)]
    prediction = torch.stack([one for one in outputs if one is not None])
    target = -torch.stack([mask for _, mask in queries])
    return functional.mse_loss(prediction, target), prediction


def self_attentions(variant: Variant) -> list[str]:
    """Names of the layers whose keys and values queries read."""
    modules = variant.unet.named_modules()
    return [name for name, module in modules if getattr(module, "is_cross_attention", None) is False]
