"""Several images of a foreign request through a task for one image, and requests that are refused at once."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import create_app
from service.http.keys import create_key
from service.settings.loader import load_settings
from tests.conftest import Server
from tests.protocols.native import IMAGE

PATHS = {
    "/hf/feature-extraction": "error",
    "/v2/models/depth/infer": "error",
    "/v2/repository/index": "error",
    "/roboflow/infer/keypoints_detection": "message",
}


def send(settings: Any, path: str, **request: Any) -> httpx2.Response:
    """The answer of an app that has loaded nothing."""

    async def post() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=create_app(settings))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(path, **request)

    return asyncio.run(post())


@pytest.mark.parametrize(("path", "member"), PATHS.items())
def test_a_problem_before_any_route_stands_where_the_clients_read_it(path: str, member: str, tmp_path: Path) -> None:
    settings = load_settings(access={"keys_file": str(tmp_path / "keys.json")}, limits={"max_upload_bytes": 10_000})
    create_key(settings.access.keys_path(), "somebody", now=datetime.now(UTC))
    refused = send(settings, path, json={})
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/json")
    assert refused.json()[member].startswith("this route needs a valid API key; send it as")
    assert refused.json()["type"] == "/problems/key-needed"


@pytest.mark.parametrize(("path", "member"), PATHS.items())
def test_a_server_that_is_not_ready_or_gets_too_much_says_so(path: str, member: str) -> None:
    settings = load_settings(limits={"max_upload_bytes": 10_000})
    early = send(settings, path, json={})
    assert early.status_code == 503
    assert early.headers["retry-after"].isdigit()
    assert "is being loaded" in early.json()[member]
    large = send(settings, path, content=b"0" * 10_001, headers={"Content-Type": "application/json"})
    assert large.status_code == 413
    assert "one request takes 10,000 bytes" in large.json()[member]


def test_the_images_of_a_request_are_answered_in_their_order(server: Server, png: bytes) -> None:
    images = [png, IMAGE.read_bytes(), png]
    body = {"image": [{"type": "base64", "value": base64.b64encode(image).decode()} for image in images]}
    together = server.client.post("/roboflow/infer/semantic_segmentation", json=body).json()
    assert [answer["image"]["width"] for answer in together] == [40, 128, 40]
    alone = server.client.post("/roboflow/infer/semantic_segmentation", json={"image": body["image"][1]}).json()
    assert together[1]["predictions"]["segmentation_mask"] == alone["predictions"]["segmentation_mask"]


def test_more_images_than_a_request_takes_are_refused(server: Server, png: bytes) -> None:
    most = server.state.settings.limits.max_images
    image = {"type": "base64", "value": base64.b64encode(png).decode()}
    refused = server.client.post("/roboflow/infer/object_detection", json={"image": [image] * (most + 1)})
    assert refused.status_code == 422
    assert f"one request takes {most}" in refused.json()["message"]
