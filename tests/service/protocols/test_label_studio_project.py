"""What of a Label Studio project can be filled, by its configuration."""

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
from service.protocols.label_studio_project import check_path, image_file, read_controls
from service.settings.loader import load_settings

TWO = """<View>
  <Image name="picture" value="$photo"/><Image name="other" value="$second"/>
  <KeyPointLabels name="kp" toName="picture">
    <Label value="Nose" model_index="0"/><Label value="Eye" model_index="2"/>
  </KeyPointLabels>
  <RectangleLabels name="rest" toName="picture"><Label value="box"/></RectangleLabels>
  <RectangleLabels name="kp_bbox" toName="picture"><Label value="human"/></RectangleLabels>
  <BrushLabels name="brush" toName="other"><Label value="cup"/></BrushLabels>
</View>"""


def test_points_know_their_labels_their_boxes_and_their_image() -> None:
    (control,) = read_controls(TWO)  # only the first image is looked at
    assert (control.kind, control.name, control.image) == ("keypoints", "kp", "photo")
    assert (control.boxes, control.box_label) == ("kp_bbox", "human")
    assert [control.label_of("nose", place) for place in range(3)] == ["Nose", None, "Eye"]


def test_labels_without_an_index_go_by_name() -> None:
    config = (
        '<View><Image name="a" value="$b"/><BrushLabels name="c" toName="a"><Label value="cup"/></BrushLabels></View>'
    )
    (control,) = read_controls(config)
    assert (control.kind, control.label_of("cup", 5), control.label_of("dish", 0)) == ("masks", "cup", None)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        "<View/>",
        '<View><Image name="a" value="$b"/><Choices name="c" toName="a"/></View>',
        '<View><BrushLabels name="c" toName="a"/></View>',
        '<!DOCTYPE x [<!ENTITY e "x">]><View/>',
    ],
)
def test_what_can_not_be_filled_is_refused(config: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_controls(config)
    assert caught.value.field == "label_config"


# Images: where they may lie, and where Label Studio sends on to.


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
def test_with_its_token_nothing_but_images_is_asked_for(path: str) -> None:
    with pytest.raises(InvalidInput, match="no path of an image"):
        check_path(path)


def test_names_with_blanks_and_umlauts_are_encoded() -> None:
    assert check_path("/data/local-files/?d=my photos/ä #1.png") == "/data/local-files/?d=my%20photos/%C3%A4%20%231.png"
    assert check_path("/data/a%20b.png") == "/data/a%20b.png"


@contextmanager
def studio(locations: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """A Label Studio that sends on from these paths; its address, and what it was asked for with its token."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
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
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


class Fetched:
    """What fetches images by address; it gives the address back."""

    async def fetch(self, url: ImageUrl, *, field: str, most_bytes: int) -> bytes:
        return url.text.encode()


def read(url: str, address: str, *, enabled: bool = True, task_id: object = 7) -> bytes:
    settings = load_settings(label_studio={"url": url, "api_key": "key"}, urls={"enabled": enabled})
    state: Any = SimpleNamespace(settings=settings, fetcher=Fetched())
    return asyncio.run(image_file(address, state, task_id=task_id))


def test_images_in_a_storage_are_opened_by_label_studio() -> None:
    with studio({"/tasks/7/resolve/": "/data/upload/1/a.png"}) as (url, asked):
        for address in ("s3://bucket/a.png", "gs://bucket/a.png", "azure-blob://box/ä.png"):
            assert read(url, address) == b"image"
        assert asked[0] == "/tasks/7/resolve/?fileuri=czM6Ly9idWNrZXQvYS5wbmc="
        with pytest.raises(InvalidInput, match="has none"):
            read(url, "s3://bucket/a.png", task_id="../1")


def test_it_may_send_on_to_another_host_which_never_sees_the_token() -> None:
    signed = "https://bucket.example.org/a.png?signature=1"
    with studio({"/tasks/7/resolve/": signed, "/data/a": "/user/login/", "/data/b": "/data/b"}) as (url, _):
        assert read(url, "s3://bucket/a.png") == signed.encode()
        with pytest.raises(InvalidInput, match="URLS__ENABLED"):
            read(url, "s3://bucket/a.png", enabled=False)
        with pytest.raises(InvalidInput, match="no path of an image"):
            read(url, "/data/a")
        with pytest.raises(InvalidInput, match="sent on more than"):
            read(url, "/data/b")
