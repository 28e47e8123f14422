"""The asynchronous client does what the synchronous one does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from diffsight_client import AsyncClient, BadInput, Busy, Client, Unreachable
from diffsight_client.models import DepthAnswer, ZeroShotAnswer
from tests.clients.python.diffsight_client.conftest import Reply, Script
from tests.conftest import Server

JOB = json.loads((Path(__file__).parent / "job.json").read_text())
MUCH = {"title": "Overloaded", "detail": "4,096 rows wait", "hint": "ask again later"}


def test_both_clients_have_the_same_methods() -> None:
    names = {name for name in dir(Client) if not name.startswith("_")} - {"close"}
    assert names == {name for name in dir(AsyncClient) if not name.startswith("_")} - {"aclose"}


def test_a_busy_server_is_tried_again_and_given_up(script: Script, png: bytes) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        script.answer(MUCH, 429, Retry_After="3")
        script.answer(JOB, 201)
        async with AsyncClient(script.url, sleep=sleep, api_key="secret") as client:
            await client.begin_job("depth", [png])
            script.answer(MUCH, 503, Retry_After="3600")
            with pytest.raises(Busy, match="ask again later"):
                await client.live()
            script.replies.append(Reply(200, b": here\n\n"))
            with pytest.raises(Unreachable, match="before the answer"):
                _ = [event async for event in client.zero_shot_stream(png, labels=["a", "b"])]
        async with AsyncClient("http://127.0.0.1:9") as client:
            with pytest.raises(Unreachable):
                await client.live()

    asyncio.run(run())
    assert waits == [3.0]
    assert [request.body.count(png) for request in script.requests[:2]] == [1, 1]
    assert script.requests[0].headers["Authorization"] == "Bearer secret"


def test_many_at_a_time_and_streams(server: Server, png: bytes) -> None:
    async def run() -> None:
        async with AsyncClient(server.url) as client:
            answers = await asyncio.gather(*(client.depth(png, maps=False) for _ in range(4)))
            assert all(isinstance(answer, DepthAnswer) for answer in answers)
            stream = client.zero_shot_stream(png, labels=["one", "two"], scheme="race", budget=16)
            events = [event async for event in stream]
            assert isinstance(events[-1], ZeroShotAnswer)
            assert (await client.run_file("depth", png, format="npy"))[:6] == b"\x93NUMPY"
            assert (await client.run("depth", png, maps=False)).rows == 1
            labels = {"labels": ["one", "two"], "scheme": "race", "budget": 16}
            named = [event.model_dump() async for event in client.run_stream("zero-shot", png, **labels)]
            assert named[-1]["label"] in ("one", "two")
            with pytest.raises(BadInput, match="depth"):
                await client.run("nothing", png)

    asyncio.run(run())


def test_a_cancelled_call_ends_the_servers_work(server: Server, png: bytes) -> None:
    async def run() -> None:
        async with AsyncClient(server.url) as client:
            stream = client.zero_shot_stream(png, labels=["one", "two", "three"], scheme="race", confidence=1.0)
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]
            while (await client.models()).engine.open_requests:  # its end is the server's next turn
                pass

    asyncio.run(run())
