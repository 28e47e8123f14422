"""Few-shot segmentation: the mask, in a query image, of the object that support images with masks show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.rows import Bank, Capture, Captures, UNetRow
from heads.diffews.bank import TIMESTEP, VARIANT, BankForm, concatenate_banks, prompt_context, support_banks
from heads.diffews.preprocess import check_mask, input_size, pixel_values
from heads.diffews.threshold import PUBLISHED, Threshold, cut_at, levels, mean_map
from heads.images import resample
from heads.results import ConceptMask


async def segment(
    engine: Engine,
    image: NDArray[np.uint8],
    support_images: Sequence[NDArray[np.uint8]],
    support_masks: Sequence[NDArray[np.generic]],
    *,
    threshold: Threshold = PUBLISHED,
    form: BankForm = "keys_values",
    size: int | None = None,
    variant: str = VARIANT,
) -> ConceptMask:
    """The mask of the supports' object, from images. For many queries, compute the banks once instead.

    image, support_images: (H, W, 3) uint8 RGB, of any sizes. support_masks: (H, W) of the image's size, 1 on the
    object.
    size: side that all are squashed to; None for the published 512, or a small backbone's own.
    Raises InvalidInput for no supports, and for masks that are empty or of another size than their image.
    Source: DiffewS (arXiv:2410.02369).
    """
    side = size or input_size(engine.backbone)
    if not support_images or len(support_images) != len(support_masks):
        raise InvalidInput(
            "supports",
            f"{len(support_images)} support images and {len(support_masks)} masks",
            hint="give one image at least, and a mask for each",
        )
    pairs = enumerate(zip(support_images, support_masks, strict=True))
    masks = [check_mask(mask, picture, side, f"supports.{index}.mask") for index, (picture, mask) in pairs]
    banks = await support_banks(engine, support_images, masks, size=side, form=form, variant=variant)
    bank = await engine.run(concatenate_banks, banks)
    return (await segment_concepts(engine, image, [bank], thresholds=[threshold], size=side, variant=variant))[0]


async def segment_concepts(
    engine: Engine,
    image: NDArray[np.uint8],
    banks: Sequence[Bank],
    *,
    thresholds: Sequence[Threshold],
    size: int | None = None,
    variant: str = VARIANT,
) -> list[ConceptMask]:
    """The mask of each concept in one image: a U-Net row and a decode a concept, which may share batches.

    image: (H, W, 3) uint8 RGB. banks: one a concept, of any numbers of shots. thresholds: one a concept.
    Returns masks and strengths in the image's own pixels. The original scores at the network's size instead.
    """
    side = size or input_size(engine.backbone)
    rgb = await mask_pictures(engine, image, banks, size=side, variant=variant)
    height, width = image.shape[:2]

    def finish() -> list[ConceptMask]:
        return [concept_mask(picture, height, width, cut) for picture, cut in zip(rgb, thresholds, strict=True)]

    return await engine.run_on_host(finish)


async def mask_pictures(
    engine: Engine, image: NDArray[np.uint8], banks: Sequence[Bank], *, size: int, variant: str = VARIANT
) -> list[Tensor]:
    """The network's mask picture for each bank, (3, size, size) uint8 on the host: the object bright, the rest dark.

    image: (H, W, 3) uint8 RGB.
    One pass at timestep 1 without noise: the U-Net's negated output is the latent of the mask.
    Source: `diffews/marigold_pipeline_rgb_latent_noise.py`; its scheduler with all betas 1 comes to this negation.
    """
    pixels = await engine.run_on_host(pixel_values, image, size)
    encoded = (await engine.encode([pixels]))[0]
    context = await prompt_context(engine)
    scale = engine.backbone.scaling_factor
    rows = await engine.run(lambda: [query_row(encoded * scale, context, bank, variant=variant) for bank in banks])
    captures = await engine.unet(rows)
    decoded = await engine.decode(await engine.run(mask_latents, captures, scale))
    return await engine.run(lambda: [levels(picture).cpu() for picture in decoded])


def query_row(latents: Tensor, context: Tensor, bank: Bank | None, *, variant: str = VARIANT) -> UNetRow:
    """The row of one query: the clean latents, at timestep 1, reading the supports' bank.

    latents: (C, h, w), scaled. context: (T, D).
    """
    return UNetRow(latents, TIMESTEP, context, Capture(output=True), bank=bank, variant=variant)


def mask_latents(captures: Sequence[Captures], scaling_factor: float) -> list[Tensor]:
    """Unscaled latents of the masks, (C, h, w) each, from rows that captured their output."""
    return [-capture.output / scaling_factor for capture in captures if capture.output is not None]


def concept_mask(rgb: Tensor, height: int, width: int, threshold: Threshold) -> ConceptMask:
    """The mask in the original image's pixels: the mean map is resized before it is cut.

    rgb: (3, h, w) uint8, the network's picture. At equal sizes this is exactly the original's mask.
    """
    strength = mean_map(rgb).numpy()
    resized = np.asarray(resample(Image.fromarray(strength), (width, height), Image.Resampling.BILINEAR))
    level = cut_at(rgb, threshold)
    return ConceptMask(resized > np.float32(level), resized, float(strength.max()), level)


def label_map(masks: Sequence[ConceptMask]) -> NDArray[np.int32]:
    """The number of each pixel's strongest concept, from 1, among concepts whose mask holds the pixel; 0 if none does.

    masks: of one image, (H, W) each. Of equal strengths the first concept wins.
    Returns (H, W) int32.
    """
    strengths = np.stack([np.where(mask.mask, mask.strength, -1) for mask in masks])
    best = strengths.argmax(axis=0)
    return np.where(strengths.max(axis=0) >= 0, best + 1, 0).astype(np.int32)
