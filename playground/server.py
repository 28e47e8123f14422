"""The page's connection to a diffsight server: the Python client, with routes and forms from the server's documents."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import httpx2

from diffsight_client import Client
from diffsight_client.calls import ANY, EVENTS, JSON, Call
from diffsight_client.images import Image
from diffsight_client.retries import Retries
from diffsight_client.tasks import AnyAnswer

# Longer than the longest deadline of a server, so that the server ends a request.
_SECONDS = 3700.0

Images = Sequence[tuple[str, Image]]
"""Images of a request: the field of each, and the image."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its bytes, media type, suggested file name, and the seconds until it arrived."""

    content: bytes
    media_type: str
    file_name: str
    seconds: float

    def json(self) -> Any:
        """The answer as JSON values."""
        return json.loads(self.content)


class Server(Client):
    """The server at `url`, called with an API key if there is one. A busy server's refusal is shown without a retry."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        # The machine's proxies are for other hosts.
        http = httpx2.Client(base_url=self.url, timeout=httpx2.Timeout(_SECONDS, connect=10), trust_env=False)
        # A header cannot hold other letters; the server then answers that the key is not valid.
        key = key.strip().encode("ascii", "replace").decode()
        super().__init__(api_key=key or None, retries=Retries(times=0), http=http)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def get_json(self, route: str) -> Any:
        """The JSON answer of a route. Raises ClientError."""
        return self.fetch(Call("GET", route, bytes)).json()

    def post(self, route: str, options: Mapping[str, Any], images: Images = (), *, accept: str = JSON) -> Reply:
        """The answer to a form. Raises ClientError."""
        return self.fetch(_post(route, options, images, accept))

    def fetch(self, call: Call[Any]) -> Reply:
        """The answer of any call. Raises ClientError."""
        started = time.perf_counter()
        response = self._send(call)
        kind = response.headers.get("content-type", "").partition(";")[0]
        name = _file_name(response.headers.get("content-disposition", ""))
        return Reply(response.content, kind, name, time.perf_counter() - started)

    def stream(self, route: str, options: Mapping[str, Any], images: Images) -> Iterator[dict[str, Any]]:
        """Yields the intermediate results, then the answer. Closing it ends the request. Raises ClientError."""
        for result in self._events(_post(route, options, images, EVENTS, AnyAnswer.model_validate_json), AnyAnswer):
            yield result.model_dump()

    def export(self, job: str, form: str, *, failed: bool = False) -> Reply:
        """The results of a job in one of its formats, or its failures. Raises ClientError."""
        query = {"status": "failed"} if failed else {"format": form, "partial": "true"}
        return self.fetch(Call("GET", f"/v1/jobs/{job}/results", bytes, query=query, accept=ANY))


def _post(route: str, options: Mapping[str, Any], images: Images, accept: str, read: Any = bytes) -> Call[Any]:
    fields: dict[str, list[Image]] = {}
    for name, image in images:
        fields.setdefault(name, []).append(image)
    single = {name: files[0] if name == "image" else files for name, files in fields.items()}
    return Call("POST", route, read, options=options, images=single, accept=accept)


def _file_name(disposition: str) -> str:
    """The last part of the name in a header, because the file is written into a folder of the page."""
    header = Message()
    header["Content-Disposition"] = disposition
    return Path(header.get_filename() or "").name
