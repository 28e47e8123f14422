"""Images of Label Studio's tasks: their places, and Label Studio's redirects."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from backbones.errors import InvalidInput
from service.inputs.urls import ImageUrl
from service.protocols.label_studio_images import check_path, studio_images
from service.settings.loader import load_settings


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/",
        "/api/current-user/token",
        "/user/login/",
        "/data/../api/projects/",
        "/data/%2e%2e/api/projects/",
        "/data/..\\api",
        "//evil.example/data/a.png",
        "/tasks/7/annotations/",
        "/data/a\r\nX: y",
        "/data/a%0d%0aX",
    ],
)
def test_with_its_token_nothing_but_images_is_requested(path: str) -> None:
    with pytest.raises(InvalidInput, match="no path of an image"):
        check_path(path)


def test_names_with_blanks_and_umlauts_are_encoded() -> None:
    assert check_path("/data/local-files/?d=my photos/ä #1.png") == "/data/local-files/?d=my%20photos/%C3%A4%20%231.png"
    assert check_path("/data/a%20b.png") == "/data/a%20b.png"


@contextmanager
def studio(locations: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A Label Studio that redirects from these paths; its address, and the paths requested with its token."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            location = locations.get(self.path.partition("?")[0])
            assert self.headers["Authorization"] == "Token key"
            self.send_response(303 if location else 200)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"image")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()


class FetcherOfAddresses:
    """A stand-in for the fetcher of images; it returns the address."""

    async def fetch(self, url: ImageUrl, *, field: str, most_bytes: int) -> bytes:
        return url.text.encode()


def read(url: str, address: str, *, enabled: bool = True, task_id: object = 7) -> bytes:
    settings = load_settings(label_studio={"url": url, "api_key": "key"}, urls={"enabled": enabled})
    state: Any = SimpleNamespace(settings=settings, fetcher=FetcherOfAddresses())

    async def read_one() -> bytes:
        async with studio_images(state) as images:
            return await images.read(address, task_id=task_id)

    return asyncio.run(read_one())


def test_images_in_a_storage_are_opened_by_label_studio() -> None:
    with studio({"/tasks/7/resolve/": "/data/upload/1/a.png"}) as (url, paths):
        for address in ("s3://bucket/a.png", "gs://bucket/a.png", "azure-blob://box/ä.png"):
            assert read(url, address) == b"image"
        assert paths[0] == "/tasks/7/resolve/?fileuri=czM6Ly9idWNrZXQvYS5wbmc="
        with pytest.raises(InvalidInput, match="has no id"):
            read(url, "s3://bucket/a.png", task_id="../1")


def test_a_redirect_to_another_host_does_not_send_the_token() -> None:
    signed = "https://bucket.example.org/a.png?signature=1"
    with studio({"/tasks/7/resolve/": signed, "/data/a": "/user/login/", "/data/b": "/data/b"}) as (url, _):
        assert read(url, "s3://bucket/a.png") == signed.encode()
        with pytest.raises(InvalidInput, match="URLS__ENABLED"):
            read(url, "s3://bucket/a.png", enabled=False)
        with pytest.raises(InvalidInput, match="no path of an image"):
            read(url, "/data/a")
        with pytest.raises(InvalidInput, match="sent on more than"):
            read(url, "/data/b")


def test_another_name_of_label_studios_host_is_refused_with_the_address_that_is_set() -> None:
    with studio({}) as (url, paths):
        with pytest.raises(InvalidInput, match=f"not below {url}.*LABEL_STUDIO__URL"):
            read(url, url.replace("127.0.0.1", "localhost") + "/data/a.png", enabled=False)
        assert paths == []
