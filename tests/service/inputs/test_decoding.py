"""Decoded images share a budget: what does not fit waits in order, and its pixels are released in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO

import pytest
from PIL import Image

from backbones.errors import InvalidInput
from service.inputs.decoding import PixelBudget, open_decoder
from service.settings.groups import LimitSettings


def png(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.new("L", (width, height), 90).save(file, "PNG")
    return file.getvalue()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_images_that_do_not_fit_wait_in_the_order_of_arrival() -> None:
    async def run() -> None:
        budget, order = PixelBudget(10), list[str]()
        leave = {name: asyncio.Event() for name in "abcd"}

        async def hold(name: str, pixels: int) -> None:
            async with budget.room(pixels):
                order.append(name)
                await leave[name].wait()

        sizes = {"a": 6, "b": 6, "c": 1, "d": 99}
        tasks = {name: asyncio.create_task(hold(name, pixels)) for name, pixels in sizes.items()}
        await settle()
        assert order == ["a"]  # c would fit, and does not overtake b
        leave["a"].set()
        await settle()
        assert order == ["a", "b", "c"]
        tasks["d"].cancel()
        leave["b"].set()
        leave["c"].set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        assert budget.held == 0
        async with budget.room(99):  # more than the whole budget, which is free
            assert budget.held == 99

    asyncio.run(run())


def test_a_waiter_that_is_cancelled_at_its_turn_gives_its_place_back() -> None:
    async def run() -> None:
        budget = PixelBudget(10)

        async def hold() -> None:
            async with budget.room(8):
                pass

        async with budget.room(8):
            late = asyncio.create_task(hold())
            await settle()
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        assert budget.held == 0

    asyncio.run(run())


@pytest.mark.parametrize("bulk", [False, True])
def test_the_images_of_one_request_are_bounded_together_before_any_is_decoded(bulk: bool) -> None:
    decoder = open_decoder(LimitSettings(max_request_pixels=1000))

    async def shapes(files: list[bytes]) -> list[tuple[int, ...]]:
        async with decoder.decoded(files, [f"images.{n}" for n in range(len(files))], bulk=bulk) as images:
            assert decoder.budget.held
            return [image.array.shape for image in images]

    def run(call: Callable[[], Awaitable[list[tuple[int, ...]]]]) -> list[tuple[int, ...]]:
        return asyncio.run(call())  # type: ignore[arg-type]

    assert run(lambda: shapes([png(20, 20), png(30, 20)])) == [(20, 20, 3), (20, 30, 3)]
    assert run(lambda: shapes([png(50, 50)])) == [(50, 50, 3)]  # one by itself has its own bound
    with pytest.raises(InvalidInput, match="1,001 pixels in 2 images"):
        run(lambda: shapes([png(20, 50), png(1, 1)]))
    assert decoder.budget.held == 0
