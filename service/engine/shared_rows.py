"""Several heads over one image at a time: what two of them ask for is computed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from backbones.backbone import Description
from backbones.engine import Engine, Result
from backbones.noise_schedule import content_key
from backbones.rows import Capture, Captures, UNetRow

Procedure = Callable[[Engine], Awaitable[Any]]


class SharedEngine:
    """The Engine that heads which run together speak to.

    Pictures with equal pixels are encoded once. Rows wait until every head that still runs waits for rows; then those
    with the same latents, timestep, context and variant become one row that brings back what any of them asked for.
    """

    def __init__(self, engine: Engine, running: int) -> None:
        self._engine = engine
        self._running = running
        self._latents: dict[bytes, asyncio.Future[Tensor]] = {}
        self._waiting: list[tuple[Sequence[UNetRow], asyncio.Future[list[Captures]]]] = []
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def backbone(self) -> Description:
        return self._engine.backbone

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._engine.tokenize(texts)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        keys = [content_key(one) for one in pixel_values]
        new: dict[bytes, Tensor] = {}
        for key, one in zip(keys, pixel_values, strict=True):
            if key not in self._latents:
                self._latents[key] = asyncio.get_running_loop().create_future()
                new[key] = one
        if new:
            try:
                for key, found in zip(new, await self._engine.encode(list(new.values())), strict=True):
                    self._latents[key].set_result(found)
            except BaseException:
                for key in new:
                    self._latents.pop(key).cancel()
                raise
        return [await asyncio.shield(self._latents[key]) for key in keys]

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        return await self._engine.embed(texts)

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        answer: asyncio.Future[list[Captures]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, answer))
        self._ask_if_all_wait()
        return await answer

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        return await self._engine.decode(latents)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await self._engine.run(function, *arguments)

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        return await self._engine.run_on_host(function, *arguments)

    def ended(self) -> None:
        """One head has ended: nobody waits for its rows any more."""
        self._running -= 1
        self._ask_if_all_wait()

    def _ask_if_all_wait(self) -> None:
        if self._waiting and len(self._waiting) >= self._running:
            waiting, self._waiting = self._waiting, []
            task = asyncio.ensure_future(self._ask(waiting))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _ask(self, waiting: Sequence[tuple[Sequence[UNetRow], asyncio.Future[list[Captures]]]]) -> None:
        merged: dict[object, UNetRow] = {}
        for rows, _ in waiting:
            for row in rows:
                key = sharing_key(row)
                merged[key] = with_capture(merged[key], row.capture) if key in merged else row
        try:
            found = dict(zip(merged, await self._engine.unet(list(merged.values())), strict=True))
        except Exception as error:
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
            return
        for rows, answer in waiting:
            if not answer.done():
                answer.set_result([found[sharing_key(row)] for row in rows])


def sharing_key(row: UNetRow) -> object:
    """Equal for rows of which one pass serves both. Tensors count as equal where they are one and the same."""
    if row.bank is not None:
        return id(row)
    tensors = id(row.latents), id(row.encoder_hidden_states)
    return *tensors, row.timestep, row.class_label, row.input_convolution, row.variant


def with_capture(row: UNetRow, other: Capture) -> UNetRow:
    """The row, bringing back what `other` asks for too."""
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
    """The result of each procedure, by name, all run together on one engine. The first error ends all of them."""
    shared = SharedEngine(engine, len(procedures))

    async def part(procedure: Procedure) -> Any:
        try:
            return await procedure(shared)
        finally:
            shared.ended()

    tasks = [asyncio.ensure_future(part(procedure)) for procedure in procedures.values()]
    try:
        return dict(zip(procedures, await asyncio.gather(*tasks), strict=True))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
