"""From an item of a source to its outcome. A server's runner and a cluster's actors both use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from backbones.errors import Cancelled, DiffsightError, InvalidInput, Overloaded
from heads.inputs import DecodedImage
from service.errors import NotReady, StorageFailed
from service.inputs.urls import ImageUrl
from service.jobs.item import item_key, run_item
from service.jobs.places import check_item
from service.jobs.records import Item, Outcome
from service.jobs.sources import Reader, Source
from service.jobs.store import canonical
from service.run_task import Work
from service.state import AppState
from service.threads import BULK_DECODING, SOURCES, run_in

log = structlog.get_logger("diffsight")

# Seconds before each retry after a network error.
_PAUSES = (1.0, 5.0)

HasResult = Callable[[str], Awaitable[bool]]
"""Whether the result of a key exists already."""


class JobFailed(Exception):
    """The job as a whole cannot run."""


def open_reader(state: AppState, source: Source, *, local: bool) -> Reader:
    """A reader of the job's images. local: whether the job comes from the command line, where no bytes are bounded."""
    limits = state.settings.limits
    most_bytes = None if local else limits.max_upload_bytes
    return Reader(source, most_bytes=most_bytes, most_pixels=limits.max_image_pixels)


class ItemWork:
    """Prepared work over the images of one source. Equal images are computed once.

    parameters: the job's; they are part of each key. reader: of the source. places: what a job over REST may read; None
    is no bound. has_result: whether the result of a key is stored. The caller stores a new result and then calls
    `settle`.
    """

    def __init__(
        self,
        state: AppState,
        work: Work,
        parameters: Mapping[str, Any],
        reader: Reader,
        has_result: HasResult,
        *,
        places: Sequence[str] | None = None,
    ) -> None:
        self.state = state
        self.work = work
        self.parameters = parameters
        self.reader = reader
        self.has_result = has_result
        self.places = places
        self._reading = asyncio.Lock()
        self._under_way: dict[str, asyncio.Event] = {}

    async def outcome(self, item: Item) -> Outcome:
        """The item's outcome: its result, or its error. Only errors of the whole job are raised.

        Raises Cancelled and NotReady if the server stops, StorageFailed, and JobFailed.
        """
        pauses = iter(_PAUSES)
        while True:
            try:
                return await self._attempt(item)
            except (Cancelled, NotReady, StorageFailed, JobFailed):
                raise
            except Overloaded as error:
                await asyncio.sleep(error.retry_after_seconds)
            except (FileNotFoundError, PermissionError, KeyError) as error:
                return Outcome(item.position, error=f"can not be read: {error}")
            except DiffsightError as error:
                if isinstance(error, InvalidInput) and self._concerns_all(error.field, item):
                    raise JobFailed(f"{error.field}: {error}") from error
                return Outcome(item.position, error=str(error))
            except OSError as error:
                if (pause := next(pauses, None)) is None:
                    return Outcome(item.position, error=f"can not be read: {error}")
                await asyncio.sleep(pause)
            except Exception as error:
                log.exception("an item failed", item=item.name)
                return Outcome(item.position, error=f"a fault of the server, see its log: {type(error).__name__}")

    def settle(self, key: str) -> None:
        """Note that the result of an outcome is stored: `has_result` is true for its key from now on."""
        if event := self._under_way.pop(key, None):
            event.set()

    def _concerns_all(self, field: str, item: Item) -> bool:
        """Whether a wrong value is one of the job's options, and not one that the source gives for this image."""
        return field in self.work.task.options.model_fields and field not in item.given

    async def _attempt(self, item: Item) -> Outcome:
        read = await self._read(item)
        facts = (self.work.task.name, self.work.revision, self.parameters, item.given)
        key = await run_in(BULK_DECODING, item_key, read, *facts)
        while (event := self._under_way.get(key)) is not None:
            await event.wait()  # another item with the same bytes is in progress
        if await self.has_result(key):
            return Outcome(item.position, key)
        if key in self._under_way:
            return await self._attempt(item)
        event = self._under_way[key] = asyncio.Event()
        try:
            async with self._decoded(read) as image:
                result = await run_item(self.state, self.work, image, item.given)
        except BaseException:
            self._under_way.pop(key, None)
            event.set()
            raise
        return Outcome(item.position, key, await run_in(BULK_DECODING, canonical, result))

    @asynccontextmanager
    async def _decoded(self, read: bytes | NDArray[np.uint8]) -> AsyncIterator[DecodedImage]:
        """The decoded image, which counts towards the pixel budget until the block ends."""
        decoder = self.state.decoder
        if isinstance(read, bytes):
            async with decoder.decoded([read], ["image"], bulk=True) as (image,):
                yield image
            return
        frame = DecodedImage(read, format="frame")
        async with decoder.budget.room(frame.width * frame.height):
            yield frame

    async def _read(self, item: Item) -> bytes | NDArray[np.uint8]:
        kind = self.reader.source.kind
        if kind == "urls":
            most = self.state.settings.urls.max_bytes
            return await self.state.fetcher.fetch(ImageUrl(item.address), field="image", most_bytes=most)
        if self.reader.in_order:
            async with self._reading:  # asyncio's lock serves tasks in the order in which they wait
                return await run_in(SOURCES, self.reader.read, item)
        if kind not in ("folder", "glob", "coco") or "problem" in item.given:
            return await run_in(SOURCES, self.reader.read, item)
        path = await run_in(SOURCES, self.reader.locate, item)
        if self.places is not None:
            await run_in(SOURCES, check_item, path, self.reader.file_system, self.places)
        return await run_in(SOURCES, self.reader.read, item, path)
