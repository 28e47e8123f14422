"""Several heads over one image, run together: results that several need are computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from backbones.backbone import Description
from backbones.engine import Engine, Input, Result
from backbones.noise_schedule import content_key
from backbones.rows import Capture, Captures, UNetRow

Procedure = Callable[[Engine], Awaitable[Any]]


class SharedEngine:
    """The Engine of heads that run together.

    running: how many heads there are. Images with equal pixels are encoded once. Rows wait until every running head
    waits for rows. Then rows with the same latents, timestep, context and variant become one row, which captures what
    each of them needs.
    """

    def __init__(self, engine: Engine, running: int) -> None:
        self._engine = engine
        self._running = running
        self._latents: dict[bytes, asyncio.Future[Tensor]] = {}
        self._waiting: list[tuple[Sequence[UNetRow], asyncio.Future[list[Captures]]]] = []
        self._passes: set[asyncio.Task[None]] = set()

    @property
    def backbone(self) -> Description:
        return self._engine.backbone

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._engine.tokenize(texts)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        """As `Engine.encode`, each image once: (3, H, W) float in [-1, 1] each -> (C, H/8, W/8)."""
        keys = [content_key(pixels) for pixels in pixel_values]
        new: dict[bytes, Tensor] = {}
        for key, pixels in zip(keys, pixel_values, strict=True):
            if key not in self._latents:
                self._latents[key] = asyncio.get_running_loop().create_future()
                new[key] = pixels
        if new:
            try:
                for key, latents in zip(new, await self._engine.encode(list(new.values())), strict=True):
                    self._latents[key].set_result(latents)
            except BaseException:
                for key in new:
                    self._latents.pop(key).cancel()
                raise
        return [await asyncio.shield(self._latents[key]) for key in keys]

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """As `Engine.embed`: (T, D) each."""
        return await self._engine.embed(texts)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        future: asyncio.Future[list[Captures]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        self._start_pass_if_all_wait()
        return await future

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """As `Engine.decode`: (C, h, w) each -> (3, 8h, 8w)."""
        return await self._engine.decode(latents)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await self._engine.run(function, *arguments)

    async def apply(
        self, network: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
    ) -> list[Result]:
        return await self._engine.apply(network, inputs)

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await self._engine.run_on_host(function, *arguments)

    def remove_head(self) -> None:
        """Stop waiting for the rows of a head that has ended."""
        self._running -= 1
        self._start_pass_if_all_wait()

    def _start_pass_if_all_wait(self) -> None:
        if self._waiting and len(self._waiting) >= self._running:
            waiting, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._run_pass(waiting))
            self._passes.add(task)
            task.add_done_callback(self._passes.discard)

    async def _run_pass(self, waiting: Sequence[tuple[Sequence[UNetRow], asyncio.Future[list[Captures]]]]) -> None:
        merged: dict[object, UNetRow] = {}
        for rows, _ in waiting:
            for row in rows:
                key = sharing_key(row)
                merged[key] = add_capture(merged[key], row.capture) if key in merged else row
        try:
            captures = dict(zip(merged, await self._engine.unet(list(merged.values())), strict=True))
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for rows, future in waiting:
            if not future.done():
                future.set_result([captures[sharing_key(row)] for row in rows])


def sharing_key(row: UNetRow) -> object:
    """A key that is equal for rows that one pass can serve.

    latents (C, h, w) and encoder_hidden_states (T, D) count as equal only if they are the same tensor: comparing their
    values would make the host wait for the device.
    """
    if row.bank is not None:
        return id(row)
    tensors = id(row.latents), id(row.encoder_hidden_states)
    return *tensors, row.timestep, row.class_label, row.input_convolution, row.variant


def add_capture(row: UNetRow, other: Capture) -> UNetRow:
    """The row with what `other` captures added to its own capture."""
    own = row.capture
    joined = Capture(
        output=own.output or other.output,
        noise_pred=own.noise_pred or other.noise_pred,
        features=tuple(dict.fromkeys((*own.features, *other.features))),
        attention_maps=tuple(dict.fromkeys((*own.attention_maps, *other.attention_maps))),
        keys_values=tuple(dict.fromkeys((*own.keys_values, *other.keys_values))),
    )
    return replace(row, capture=joined)


async def perceive(engine: Engine, procedures: Mapping[str, Procedure]) -> dict[str, Any]:
    """The result of each procedure, by name. All run together on one engine; the first error ends all of them."""
    shared = SharedEngine(engine, len(procedures))

    async def run_head(procedure: Procedure) -> Any:
        try:
            return await procedure(shared)
        finally:
            shared.remove_head()

    tasks = [asyncio.ensure_future(run_head(procedure)) for procedure in procedures.values()]
    try:
        return dict(zip(procedures, await asyncio.gather(*tasks), strict=True))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
