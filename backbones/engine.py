"""The Engine protocol that heads use, and the direct engine, which computes at once on the calling thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from backbones.activation_memory import count_fitting, item_bytes
from backbones.backbone import Backbone, Description
from backbones.free_memory import free_bytes
from backbones.rows import Captures, UNetRow

Result = TypeVar("Result")
Input = TypeVar("Input")

APPLIED = 8
"""Largest batch of inputs for a head's own network. On a CPU, VPD's depth network is fastest at 8."""

# Smaller batches are not compared with the free memory.
_SMALL_BYTES = 64 << 20


class Engine(Protocol):
    """A backbone's operations. A head is an async procedure over these calls, and runs on any engine.

    All results are in the order of the arguments, on the backbone's device and in its number type.
    Every call raises `InvalidInput` for input that the backbone cannot take; the batching engine also raises
    `Overloaded`, `DeadlinePassed`, `Cancelled`, and `NotANumber` for rows whose own result is not finite.
    """

    @property
    def backbone(self) -> Description:
        """Sizes, scales and the noise schedule of the backbone behind this engine."""

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text with start and end, neither padded nor cut. Two texts with equal ids are one text."""

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """Mean latents, unscaled: (3, H, W) float in [-1, 1], H and W multiples of 8 -> (C, H/8, W/8)."""

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """Text contexts, (T, D) each: the text encoder's last hidden state over the padded prompt."""

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        """The captures of each row. Rows of other callers may be in the same U-Net batch."""

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """Images from unscaled latents: (C, h, w) -> (3, 8h, 8w) float, about [-1, 1]."""

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)` on a thread that may use the device: a head's own small module, a reduction."""

    async def apply(
        self, network: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
    ) -> list[Result]:
        """The result of a head's own network for each input. Inputs of other callers may be in the same batch.

        network: inputs to results, in order. Inputs of all calls whose networks are equal (`==`) must fit one batch.
        """

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)` on a thread that does not use the device: decoding, resizing, drawing."""


class DirectEngine:
    """The engine for library use, training and conformance: one caller, no queue, answers before it returns.

    max_rows: the largest batch; longer sequences are split. Batches are smaller if memory is short.
    """

    def __init__(self, model: Backbone, *, max_rows: int = 32) -> None:
        self.model = model
        self.max_rows = max_rows

    @property
    def backbone(self) -> Description:
        return self.model.description

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self.model.tokenize(texts)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        return self._run_in_batches("encode", self.model.encode, pixel_values)

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        return self._run_in_batches("embed", self.model.embed, texts)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        for row in rows:
            self.model.check(row)
        return self._run_in_batches("unet", self.model.forward, rows)

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        return self._run_in_batches("decode", self.model.decode, latents)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(*arguments)

    async def apply(
        self, network: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
    ) -> list[Result]:
        batches = [inputs[at : at + APPLIED] for at in range(0, len(inputs), APPLIED)]
        return [result for batch in batches for result in network(batch)]

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return function(*arguments)

    def _run_in_batches(
        self, kind: str, function: Callable[[Sequence[Any]], list[Result]], items: Sequence[Any]
    ) -> list[Result]:
        """`function` over `items` in order. A new batch begins if one is full or the next item cannot share it."""
        results: list[Result] = []
        batch: list[Any] = []
        limit = 1
        for item in items:
            if not batch:
                limit = self._limit(kind, item)
            if batch and (len(batch) == limit or batch_key(item) != batch_key(batch[0])):
                results += function(batch)
                batch, limit = [], self._limit(kind, item)
            batch.append(item)
        return results + (function(batch) if batch else [])

    def _limit(self, kind: str, item: Any) -> int:
        """Items of the largest batch that begins with this one."""
        model = self.model.description
        each = item_bytes(kind, item, model.activation_bytes, model.downscale)
        if each * self.max_rows < _SMALL_BYTES:
            return self.max_rows
        return min(self.max_rows, count_fitting(each, free_bytes(model.device)) or self.max_rows)


def batch_key(item: UNetRow | Tensor | str) -> object:
    """What two items must have in common to share one batch of the same function: tensors of any shape, rows, texts."""
    if isinstance(item, UNetRow):
        return item.variant, item.latents.shape[1:], item.encoder_hidden_states is None, item.class_label is None
    return tuple(item.shape) if isinstance(item, Tensor) else None


async def embed_unpadded(engine: Engine, text: str) -> Tensor:
    """The text context of a prompt without padding, (T, D): of its tokens with start and end alone.

    The text encoder is causal, so these are the first tokens of the padded prompt, which is what engines keep.
    """
    return (await engine.embed([text]))[0][: len(engine.tokenize([text])[0])]


def complete(procedure: Coroutine[Any, Any, Result]) -> Result:
    """Run a head's procedure to its end and return its result, from code that is not async itself."""
    return asyncio.run(procedure)
