"""Decoding of images: on threads of its own, and within the memory limit for all decoded images."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from backbones.errors import InvalidInput
from heads.inputs import DecodedImage
from service.inputs.images import count_pixels, decode_image
from service.settings.groups import LimitSettings
from service.threads import BULK_DECODING, DECODING, run_in


class PixelBudget:
    """Memory for the pixels of decoded images: requests that do not fit wait, in order of arrival.

    An unused budget accepts any number, so that no request waits for ever.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def room(self, pixels: int) -> AsyncIterator[None]:
        """Wait until so many pixels fit, then hold their memory."""
        if self._waiting or not self._fits(pixels):
            place = pixels, asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place[1]
            except asyncio.CancelledError:
                if place[1].done() and not place[1].cancelled():
                    self._give_back(pixels)  # the room became free while the wait was cancelled
                else:
                    self._waiting.remove(place)
                    self._wake()
                raise
        else:
            self.held += pixels
        try:
            yield
        finally:
            self._give_back(pixels)

    def _fits(self, pixels: int) -> bool:
        return not self.held or self.held + pixels <= self.most

    def _give_back(self, pixels: int) -> None:
        self.held -= pixels
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            pixels, future = self._waiting.popleft()
            if not future.done():
                self.held += pixels
                future.set_result(None)


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """Decodes the images of requests and jobs. budget: shared by all of a server."""

    limits: LimitSettings
    budget: PixelBudget

    @asynccontextmanager
    async def decoded(
        self, files: Sequence[bytes], names: Sequence[str], *, bulk: bool = False
    ) -> AsyncIterator[list[DecodedImage]]:
        """The images of one request, in memory until the context ends. names: name of each in a problem.

        bulk: whether decoding for other requests has priority.
        Raises InvalidInput for an image, and for too many pixels together.
        """
        pixels = await run_in(BULK_DECODING if bulk else DECODING, _count_all, files)
        if len(files) > 1 and pixels > self.limits.max_request_pixels:
            raise InvalidInput(
                "images",
                f"{pixels:,} pixels in {len(files)} images; one request takes {self.limits.max_request_pixels:,}",
                hint="send fewer at a time, or scale them down first: the networks read a few hundred pixels on "
                "each side",
            )
        async with self.budget.room(pixels):
            yield [await self.decode(data, name, bulk=bulk) for data, name in zip(files, names, strict=True)]

    async def decode(self, data: bytes, name: str, *, bulk: bool = False) -> DecodedImage:
        """Decode one image on a thread of the pool; the caller holds its memory. Raises InvalidInput."""
        return await run_in(BULK_DECODING if bulk else DECODING, decode_image, data, self.limits, field=name)


def open_decoder(limits: LimitSettings) -> Decoder:
    """The decoder of a server."""
    return Decoder(limits, PixelBudget(limits.max_decoded_pixels))


def _count_all(files: Sequence[bytes]) -> int:
    return sum(map(count_pixels, files))
