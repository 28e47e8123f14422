"""Requests go to the replica that holds the model, and leave the one without it as it is."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

_ATTEMPTS = 10
_ATTEMPT_SECONDS = 3.0
_LOOKS = 20
MODEL = "pocket"


def check_routing(client: httpx2.Client, send: Callable[[], object], requests: int = 20) -> int:
    """Unload the model in one of two replicas; then none of so many requests loads it there again.

    send: sends a request that the model answers. Returns how many attempts it took: a replica reports once a second,
    and until the proxies know, a request may still go to the one without the model.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        client.post(f"/v1/models/{MODEL}/unload").raise_for_status()
        time.sleep(_ATTEMPT_SECONDS)
        for _ in range(requests):
            send()
        if states(client) == {"READY", "UNAVAILABLE"}:
            return attempt
    raise AssertionError("requests went to a replica without the model, though another one held it")


def states(client: httpx2.Client) -> set[str]:
    """The model's states in the replicas that answer."""
    answers = [client.get("/v1/models").raise_for_status().json() for _ in range(_LOOKS)]
    return {model["state"] for answer in answers for model in answer["models"] if model["id"] == MODEL}
