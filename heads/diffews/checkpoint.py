"""DiffewS checkpoints: the published layout, and fine-tuned parts over a backbone that has the rest."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch

from backbones.loading.variants import check_base_revision, load_variant
from backbones.stable_diffusion import StableDiffusion, Variant
from heads.diffews.bank import SUPPORT, VARIANT

POCKET = Path(__file__).parent / "pocket"
"""The variant that ships with the embedded backbone."""
SUPPORT_CONVOLUTION = "conv_in_ref"


def load_few_shot(backbone: StableDiffusion, source: Path, *, variant: str = VARIANT) -> None:
    """Make the fine-tuned U-Net in `source` available to rows as `variant`.

    source: `weight/coco_fold0/unet` as published, or a folder that holds such a `unet/`, once or twice over; or one
    that `diffsight fit few-shot` wrote, which may hold fine-tuned parts alone.
    Raises ModelNotFound if nothing is there, CheckpointError where it does not fit the backbone, with the missing,
    unexpected and mis-shaped keys.
    """
    parts_of = check_base_revision(backbone, source)
    load_variant(
        backbone,
        variant,
        source,
        input_convolutions={SUPPORT: SUPPORT_CONVOLUTION},
        from_backbone=("",) if parts_of else (),
    )


def fresh_variant(backbone: StableDiffusion) -> Variant:
    """The start of training: the backbone's own U-Net.

    Its second input convolution is half of the first for each input.
    Source: `train_tools/load_ckpt_and_modify_ref8in_tag4in.py`.
    """
    own = backbone.variants[""]
    unet = deepcopy(own.unet)
    convolution = unet.get_submodule("conv_in")
    assert isinstance(convolution, torch.nn.Conv2d)
    support = torch.nn.Conv2d(2 * convolution.in_channels, convolution.out_channels, 3, padding=1)
    with torch.no_grad():
        support.weight.copy_(torch.cat([convolution.weight, convolution.weight], dim=1) / 2)
        if support.bias is not None and convolution.bias is not None:
            support.bias.copy_(convolution.bias)
    support = support.to(convolution.weight.device, convolution.weight.dtype)
    return Variant(unet, own.prediction_type, f"{own.revision}-few-shot-start", {SUPPORT: support})
