"""How a route asks the engine: one place for readiness, decoding, the deadline, the hung-up client and the timings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from backbones.errors import DeadlinePassed
from service.errors import ClientGone
from service.inputs.archives import ArchivedFile
from service.inputs.images import DecodedImage, decode_image
from service.inputs.urls import ImageUrl
from service.models.loading import service_of
from service.telemetry.tracing import admitted, stage, watched

if TYPE_CHECKING:
    from service.engine.session import Session

Result = TypeVar("Result")


async def ask(
    request: Request,
    task: str,
    images: Sequence[bytes | ImageUrl | ArchivedFile],
    procedure: Callable[[Session, Sequence[DecodedImage]], Awaitable[Result]],
    *,
    names: Sequence[str] | None = None,
    bulk: bool = False,
    deadline_seconds: float | None = None,
) -> Result:
    """The result of `procedure` over the decoded images, with an engine of its own that forgets its rows at the end.

    images: files, or addresses to fetch them from first. task: what its rows are counted under. names: what
    each image is called in a problem, where `image` and `images.N` do not tell. deadline_seconds: at
    most the settings' own, which holds where none is given.
    Raises NotReady without a warm engine, InvalidInput for an image, DeadlinePassed, and ClientGone when the client
    hangs up: its waiting rows are dropped then.
    """
    service = service_of(request)
    limits = service.settings.limits
    seconds = min(deadline_seconds or limits.deadline_seconds, limits.deadline_seconds)
    timings: dict[str, float] = {}
    request.state.timings = timings
    trace = admitted(request, task)

    async def work() -> Result:
        started = time.perf_counter()
        called = names or image_names(images)
        files = await fetched(request, images, called)
        if any(isinstance(image, ImageUrl) for image in images):
            timings["fetch"] = time.perf_counter() - started
            started = time.perf_counter()
        with stage(trace, "decode", images=len(images)):
            decoded = [
                await asyncio.to_thread(decode_image, data, limits, field=name)
                for data, name in zip(files, called, strict=True)
            ]
        timings["decode"] = time.perf_counter() - started
        with service.engine.session(task, bulk=bulk, deadline_seconds=seconds - sum(timings.values())) as engine:
            try:
                return await procedure(watched(engine, trace), decoded)
            finally:
                timings.update(engine.timings)
                request.state.rows = engine.rows

    try:
        async with asyncio.timeout(seconds):
            return await while_connected(request, work())
    except TimeoutError as error:
        raise DeadlinePassed(
            f"not done within {seconds:g} seconds", hint="ask for less work, or for a later deadline_seconds"
        ) from error


def image_names(images: Sequence[bytes | ImageUrl | ArchivedFile]) -> list[str]:
    """What each image is called in a problem: its field, and inside an archive its path."""
    if len(images) == 1 and not isinstance(images[0], ArchivedFile):
        return ["image"]
    return [image.name if isinstance(image, ArchivedFile) else f"images.{index}" for index, image in enumerate(images)]


async def fetched(
    request: Request, images: Sequence[bytes | ImageUrl | ArchivedFile], names: Sequence[str]
) -> list[bytes]:
    """The files themselves. Addresses are fetched in order, and have the bytes of one upload between them.

    Raises InvalidInput for one that could not be fetched.
    """
    left: int = service_of(request).settings.limits.max_upload_bytes
    files: list[bytes] = []
    for image, name in zip(images, names, strict=True):
        if isinstance(image, ImageUrl):
            files.append(await request.app.state.fetcher.fetch(image, field=name, most_bytes=left))
            left -= len(files[-1])
        else:
            files.append(image.data if isinstance(image, ArchivedFile) else image)
    return files


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the client hangs up. Raises ClientGone then.

    The request's body must have been read: the next message is the end of the connection.
    """
    task = asyncio.create_task(work)
    hung_up = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone("the client hung up")
    finally:
        task.cancel()
        hung_up.cancel()
        await asyncio.gather(task, hung_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
