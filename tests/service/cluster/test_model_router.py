"""Which replicas a request may go to, from what they reported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray.serve", reason="the extra `ray` is not installed")

from service.cluster.model_router import ModelRouter, choose_places

DEPTH = {"models": ["/v1/depth", "pocket"], "full": False}
POSE = {"models": ["/v1/pose", "sdpose"], "full": False}


@pytest.mark.parametrize(
    ("reports", "model", "places"),
    [
        ([DEPTH, POSE, DEPTH], "/v1/depth", [0, 2]),
        ([DEPTH, POSE, DEPTH], "sdpose", [1]),
        ([DEPTH, POSE], "/metrics", [0, 1]),
        ([DEPTH, {**DEPTH, "full": True}], "pocket", [0]),
        ([{**DEPTH, "full": True}, POSE], "pocket", [1]),
        ([{**DEPTH, "full": True}, {**POSE, "full": True}], "pocket", [0, 1]),
        ([{}, {}], "pocket", [0, 1]),
        ([], "pocket", []),
    ],
)
def test_replicas_that_hold_the_model_and_have_room_come_first(
    reports: list[Mapping[str, Any]], model: str, places: list[int]
) -> None:
    assert choose_places(reports, model) == places


def choose(reports: list[Mapping[str, Any]], model: str | None) -> list[Any]:
    replicas: Any = [SimpleNamespace(routing_stats=report) for report in reports]
    request: Any = None if model is None else SimpleNamespace(metadata=SimpleNamespace(multiplexed_model_id=model))
    router: Any = None  # the choice needs nothing of it
    (chosen,) = asyncio.run(ModelRouter.choose_replicas(router, replicas, request))
    return [replica.routing_stats for replica in chosen]


def test_ray_compares_two_replicas_at_most() -> None:
    assert choose([POSE, DEPTH, POSE], "pocket") == [DEPTH]
    assert choose([DEPTH] * 5, "pocket") == [DEPTH] * 2
    assert len(choose([POSE, DEPTH, POSE], None)) == 2
