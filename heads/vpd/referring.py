"""Referring segmentation: the mask that an expression names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from heads.images import check_image, pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.results import Masks
from heads.vpd.features import make_row, pyramid
from heads.vpd.heads import ReferringHead, in_chunks
from heads.vpd.preprocess import shorter_side

CELL = 8


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression as the network reads it. read: its words that fit. cut: whether some did not."""

    given: str
    read: str
    cut: bool


async def predict_referring(
    engine: Engine, image: NDArray[np.uint8], head: ReferringHead, expressions: Sequence[str], *, threshold: float = 0.5
) -> tuple[Masks, list[Expression]]:
    """A mask for each expression over `image`, (H, W, 3) uint8 RGB, and how each expression was read.

    threshold: probability from which a pixel belongs to the mask; 0.5 is the argmax of the original.
    Raises InvalidInput for no expression and for an empty one.
    Source: `refer/test.py` of wl-zhao/VPD, which distorts images to 512 x 512.
    """
    check_image(image)
    if not expressions:
        raise InvalidInput("expressions", "none", hint="say what to find, such as 'the red ball on the left'")
    read = [read_expression(engine, text, head.tokens) for text in expressions]
    size = (head.size, head.size) if head.squash else shorter_side(image.shape, head.size)
    pixels = await engine.run_on_host(lambda: to_pixel_values(resize(image, size)))
    contexts = [text[: head.tokens] for text in await engine.embed([one.read for one in read])]
    logits = await referring_logits(engine, pixels, head, contexts)

    def masks() -> tuple[NDArray[np.bool_], tuple[float, ...]]:
        found = []
        for one in logits:
            whole = resize_maps(one, (image.shape[0], image.shape[1]))
            found.append((whole[1] - whole[0]).sigmoid())
        probabilities = torch.stack(found).float().cpu().numpy()
        inside = probabilities > threshold
        scores = tuple(
            float(one[mask].mean(dtype=np.float64)) if mask.any() else 0.0
            for one, mask in zip(probabilities, inside, strict=True)
        )
        return inside, scores

    found, scores = await engine.run(masks)
    return Masks(found, tuple(one.given for one in read), scores), read


async def referring_logits(
    engine: Engine, pixel_values: Tensor, head: ReferringHead, texts: Sequence[Tensor]
) -> list[Tensor]:
    """Logits (2, H, W) float32 of one picture (3, H, W) in [-1, 1] for each text (T, D), before its adapter."""
    size = (pixel_values.shape[-2], pixel_values.shape[-1])
    capture = head.taps.capture(maps=True)
    contexts = await engine.run(_adapted, head, texts)
    (latents,) = await engine.encode([pad_to_multiple(pixel_values, head.taps.stride)])
    captures = await engine.unet([make_row(latents, context, capture, head.variant) for context in contexts])

    def decode() -> list[Tensor]:
        pyramids = [pyramid(one, head.taps, maps=True) for one in captures]
        return [enlarged(one, size) for one in in_chunks(head.network, pyramids)]

    return await engine.run(decode)


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (2, h, w) at an eighth of the padded picture -> (2, *size), corners in their places, as in the original.

    What was padded is cut off.
    """
    whole = (logits.shape[-2] * CELL, logits.shape[-1] * CELL)
    with torch.no_grad():
        return resize_maps(logits, whole, align_corners=True)[..., : size[0], : size[1]]


def read_expression(engine: Engine, text: str, tokens: int) -> Expression:
    """The expression's first words that make `tokens` tokens, start and end included; all of them most often.

    Raises InvalidInput where it is empty, or its first word alone is too long.
    """
    words = text.split()
    if not words:
        raise InvalidInput("expression", "the expression is empty", hint="say what to find, such as 'the red ball'")
    whole = " ".join(words)
    if len(engine.tokenize([whole])[0]) <= tokens:
        return Expression(text, whole, False)
    low, high = 0, len(words)  # so many words fit, so many do not
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(engine.tokenize([" ".join(words[:middle])])[0]) <= tokens
        low, high = (middle, high) if fits else (low, middle)
    if low == 0:
        raise InvalidInput("expression", f"its first word makes more than {tokens} tokens", hint="use shorter words")
    return Expression(text, " ".join(words[:low]), True)


@torch.no_grad()
def _adapted(head: ReferringHead, texts: Sequence[Tensor]) -> list[Tensor]:
    return [head.network.context(text) for text in texts]
