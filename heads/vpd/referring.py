"""The task `referring`: the mask that an expression names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from torch import Tensor

from backbones.engine import Engine
from backbones.errors import InvalidInput
from backbones.rows import Captures
from heads.images import check_image, pad_to_multiple, resize, resize_maps, to_pixel_values
from heads.inputs import Inputs
from heads.outputs import MASK_EXPORTS, MaskAnswer, MaskForm, mask_answers, mask_png, masks_overlay, npy_file
from heads.results import Masks
from heads.task import JSON, NPY, PNG, Form, Options, Task
from heads.vpd.features import make_row
from heads.vpd.heads import ReferringHead, run_head
from heads.vpd.opening import find_shipped_head, open_task_head
from heads.vpd.preprocess import shorter_side

CELL = 8


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression as the network reads it. read: its words that fit. cut: whether some did not."""

    given: str
    read: str
    cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class ExpressionMasks:
    """The masks of several expressions, and how each was read."""

    masks: Masks
    expressions: tuple[Expression, ...]


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
        raise InvalidInput("expressions", "none", hint="send what to find, such as 'the red ball on the left'")
    read = [read_expression(engine, text, head.tokens) for text in expressions]
    size = (head.size, head.size) if head.squash else shorter_side(image.shape, head.size)
    pixels = await engine.run_on_host(lambda: to_pixel_values(resize(image, size)))
    contexts = [text[: head.tokens] for text in await engine.embed([expression.read for expression in read])]
    logits = await referring_logits(engine, pixels, head, contexts)

    def probability_of(pair: Tensor) -> NDArray[np.float32]:
        whole = resize_maps(pair, (image.shape[0], image.shape[1]))
        probability: NDArray[np.float32] = (whole[1] - whole[0]).sigmoid().float().cpu().numpy()
        return probability

    # One map at a time on the device; the rest runs on the host.
    maps = [await engine.run(probability_of, one) for one in logits]

    def masks() -> tuple[NDArray[np.bool_], tuple[float, ...]]:
        probabilities = np.stack(maps)
        inside = probabilities > threshold
        scores = tuple(
            float(probability[mask].mean(dtype=np.float64)) if mask.any() else 0.0
            for probability, mask in zip(probabilities, inside, strict=True)
        )
        return inside, scores

    found, scores = await engine.run_on_host(masks)
    return Masks(found, tuple(one.given for one in read), scores), read


async def referring_logits(
    engine: Engine, pixel_values: Tensor, head: ReferringHead, texts: Sequence[Tensor]
) -> list[Tensor]:
    """Logits (2, H, W) float32 of one picture (3, H, W) in [-1, 1] for each text (T, D), before its adapter."""
    size = (pixel_values.shape[-2], pixel_values.shape[-1])
    capture = head.layers.capture(maps=True)
    contexts = await engine.run(_adapt, head, texts)
    padded = await engine.run_on_host(pad_to_multiple, pixel_values, head.layers.stride)
    (latents,) = await engine.encode([padded])
    captures = await engine.unet([make_row(latents, context, capture, head.variant) for context in contexts])
    return await engine.apply(_Logits(head, size), captures)


@dataclass(frozen=True, slots=True)
class _Logits:
    """The network of a referring head for pictures of one size (height, width)."""

    head: ReferringHead
    size: tuple[int, int]

    def __call__(self, captures: Sequence[Captures]) -> list[Tensor]:
        """(2, H, W) float32 of each row."""
        return [enlarge_mask_logits(logits, self.size) for logits in run_head(self.head, captures, maps=True)]


def enlarge_mask_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (2, h, w) at an eighth of the padded picture -> (2, *size), with aligned corners, as in the original.

    The padding is cut off.
    """
    whole = (logits.shape[-2] * CELL, logits.shape[-1] * CELL)
    with torch.no_grad():
        return resize_maps(logits, whole, align_corners=True)[..., : size[0], : size[1]]


def read_expression(engine: Engine, text: str, tokens: int) -> Expression:
    """The words of the expression that fit into `tokens` tokens, start and end included; usually all of them.

    Raises InvalidInput if it is empty, or its first word alone is too long.
    """
    words = text.split()
    if not words:
        raise InvalidInput("expression", "the expression is empty", hint="say what to find, such as 'the red ball'")
    whole = " ".join(words)
    if len(engine.tokenize([whole])[0]) <= tokens:
        return Expression(text, whole, False)
    low, high = 0, len(words)  # the number of words that fit, and the least number that does not
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(engine.tokenize([" ".join(words[:middle])])[0]) <= tokens
        low, high = (middle, high) if fits else (low, middle)
    if low == 0:
        raise InvalidInput("expression", f"its first word makes more than {tokens} tokens", hint="use shorter words")
    return Expression(text, " ".join(words[:low]), True)


@torch.no_grad()
def _adapt(head: ReferringHead, texts: Sequence[Tensor]) -> list[Tensor]:
    return [head.network.context(text) for text in texts]


Text = Annotated[str, StringConstraints(max_length=10_000)]


class ReferringOptions(Options):
    """Options of referring segmentation."""

    expression: Text | None = Field(default=None, description="What to find, in words. Send several as `expressions`.")
    expressions: list[Text] | None = Field(
        default=None, min_length=1, max_length=64, description="What to find, in words. Each expression gets a mask."
    )
    threshold: float = Field(
        default=0.5, gt=0, lt=1, description="Lowest probability of a pixel that belongs to the mask."
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> ReferringOptions:
        if (self.expression is None) == (self.expressions is None):
            raise PydanticCustomError("one_of", "Send either `expression` or `expressions`", {"field": "expressions"})
        return self

    def texts(self) -> list[str]:
        """All expressions, in the order sent."""
        return self.expressions or ([] if self.expression is None else [self.expression])


class ExpressionAnswer(MaskAnswer):
    """The mask of one expression."""

    read: str = Field(description="The part of the expression that the network read.")
    cut: bool = Field(description="Whether the expression was too long for the network, so that its end was cut off.")


class ReferringResult(BaseModel):
    """One mask for each expression, in the same order."""

    masks: list[ExpressionAnswer]
    head: str


async def run_referring(
    engine: Engine, head: ReferringHead, inputs: Inputs, options: ReferringOptions, on_progress: object = None
) -> ExpressionMasks:
    """A mask for each expression."""
    masks, expressions = await predict_referring(
        engine, inputs.image, head, options.texts(), threshold=options.threshold
    )
    return ExpressionMasks(masks, tuple(expressions))


def answer_referring(
    result: ExpressionMasks, head: ReferringHead, options: ReferringOptions, *, form: MaskForm = "rle"
) -> ReferringResult:
    """The masks with how each expression was read, their shapes as `form` says."""
    masks = mask_answers(result.masks, form=form)
    return ReferringResult(
        masks=[
            ExpressionAnswer(**mask.model_dump(), read=expression.read, cut=expression.cut)
            for mask, expression in zip(masks, result.expressions, strict=True)
        ],
        head=head.name,
    )


def referring_item(result: ExpressionMasks, head: ReferringHead, options: ReferringOptions) -> dict[str, Any]:
    """A job's masks: the category of each is its expression's place, from 1."""
    answer = answer_referring(result, head, options)
    masks = [
        {"category_id": place, **mask.model_dump(mode="json", exclude_none=True)}
        for place, mask in enumerate(answer.masks, 1)
    ]
    return {"masks": masks, "head": head.name}


def referring_line(result: ExpressionMasks) -> str:
    """The share of each mask, for people."""
    names, masks = result.masks.names, result.masks.masks
    return ", ".join(f"{name}: {mask.mean():.1%}" for name, mask in zip(names, masks, strict=True))


def describe_referring(head: ReferringHead) -> dict[str, Any]:
    """Properties of the head for clients."""
    return {"head": head.name, "size": head.size, "tokens": head.tokens}


def check_one_expression(options: ReferringOptions, head: ReferringHead) -> None:
    """Raises InvalidInput for several expressions, whose masks one PNG cannot hold."""
    if len(options.texts()) > 1:
        raise InvalidInput(
            "format", "a PNG holds the mask of one expression only", hint="send format=npy, or one expression"
        )


TASK = Task(
    name="referring",
    summary="Segment what an expression names",
    source="VPD (arXiv:2303.02153)",
    inputs="image_texts",
    options=ReferringOptions,
    answer=ReferringResult,
    open=partial(open_task_head, "referring"),
    run=run_referring,
    to_answer=answer_referring,
    to_text=referring_line,
    to_item=referring_item,
    group="segmentation",
    forms={
        "rle": Form(JSON, "masks as COCO RLE, the same as `json`", to_answer=answer_referring),
        "polygons": Form(JSON, "masks as polygons", to_answer=partial(answer_referring, form="polygons")),
        "png": Form(
            PNG,
            "the mask of one expression, with 255 inside",
            write=lambda result, inputs, options: mask_png(result.masks.masks[0]),
            check=check_one_expression,
        ),
        "npy": Form(
            NPY,
            "a bool array of shape (expressions, height, width)",
            write=lambda result, inputs, options: npy_file(result.masks.masks),
            file_name="masks.npy",
        ),
        "overlay": Form(
            PNG,
            "the image with the masks over it",
            write=lambda result, inputs, options: masks_overlay(inputs.image, result.masks),
        ),
    },
    exports=MASK_EXPORTS,
    describe=describe_referring,
    example={"expression": "the white stroke"},
    curl="-F image=@table.jpg -F 'expression=the red cup'",
    shipped=partial(find_shipped_head, "referring"),
)
