"""The state that all panels share: the server's address and description, and common controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from diffsight_client import ClientError
from playground.description import ServerDescription
from playground.server import Server

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True, slots=True)
class Page:
    """The page during its construction.

    url: where the page itself reaches the server. public: whether readers reach it there too; if not, the server has
    the address of the page. key: the control with the API key.
    """

    url: str
    public: bool
    description: ServerDescription
    key: Any

    def server(self, key: str | None) -> Server:
        """The server, called with a reader's key."""
        return Server(self.url, key or "")

    def address(self, request: gr.Request | None) -> str:
        """The address of the server for readers, for the commands that they see."""
        host = None if self.public or request is None else request.headers.get("host")
        if not host or request is None:
            return self.url
        scheme = str(request.headers.get("x-forwarded-proto", "http"))
        return f"{scheme.partition(',')[0]}://{host}"

    def choices(self, key: str | None, kept: str) -> Any:
        """An update of a list with the objects under /v1/`kept` on the server, newest first."""
        try:
            with self.server(key) as server:
                things = server.get_json(f"/v1/{kept}")[kept]
        except (ClientError, KeyError):  # the next request shows why
            things = []
        named = [(f"{thing.get('name') or 'without a name'} ({thing['id'][:8]})", thing["id"]) for thing in things]
        return gr.update(choices=named[::-1])


def samples() -> list[str]:
    """Paths of the sample pictures."""
    return sorted(map(str, SAMPLES.glob("*.png")))
