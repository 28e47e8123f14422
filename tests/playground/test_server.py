"""Calls of the page to a server."""

from __future__ import annotations

import json

import pytest

from diffsight_client import ClientError, RequestRefused, Unreachable
from playground.server import Server
from tests.conftest import Server as Running


def test_a_form_gives_its_answer_and_its_file(server: Running, png: bytes) -> None:
    with Server(server.url) as client:
        answer = client.post("/v1/features", {"timesteps": [50]}, [("images", png), ("images", png)])
        assert len(answer.json()["vectors"]) == 2
        picture = client.post("/v1/depth", {"format": "npy"}, [("image", png)], accept="*/*")
        assert (picture.media_type, picture.file_name) == ("application/x-npy", "depth.npy")


def test_a_stream_ends_with_its_answer(server: Running, png: bytes) -> None:
    options = {"labels": ["one", "two"], "scheme": "race"}
    with Server(server.url) as client:
        *_, last = client.stream("/v1/classify/zero-shot", options, [("image", png)])
    assert last["label"] in ("one", "two")
    assert json.dumps(last)


def test_errors_of_a_call_are_raised(server: Running, png: bytes) -> None:
    with Server(server.url) as client, pytest.raises(RequestRefused):
        client.post("/v1/depth", {"scene": "moon"}, [("image", png)])
    with Server("http://127.0.0.1:9", key="ключ") as client, pytest.raises(Unreachable):
        client.get_json("/v1/models")
    assert issubclass(Unreachable, ClientError)
