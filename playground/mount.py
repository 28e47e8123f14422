"""The page as an ASGI app: built when it is first opened, and run beside the event loop that it is mounted in."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Awaitable, Coroutine
from html import escape
from typing import Any

from diffsight_client import ClientError
from playground.description import ServerDescription, describe
from playground.html import WAITING, App, CleanDocuments, Message, Receive, Scope, Send
from playground.server import Server

PATH = "/playground"


def is_installed() -> bool:
    """Whether the packages of the extra `playground` are there. It imports none of them."""
    return importlib.util.find_spec("gradio") is not None


class PlaygroundApp:
    """The page for the server at `url`, below PATH.

    Gradio reads uploads and writes pictures in its event loop. It gets a loop and a thread of its own, so that the
    loop of the server that it is mounted in goes on answering meanwhile.
    public: whether readers reach the server at `url` too, or where they get the page from.
    """

    def __init__(self, url: str, *, public: bool) -> None:
        self.url = url
        self.public = public
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in the page's own loop; while the server says nothing of itself, with a page that waits."""
        if scope["type"] != "http":
            raise RuntimeError(f"the page does not take {scope['type']!r}")
        try:
            opened = self._opened
            if opened is None:
                opened = await asyncio.to_thread(self._open)
        except ClientError as problem:
            await _wait_page(problem, send)
            return
        loop = asyncio.get_running_loop()

        async def receive_there() -> Message:
            message: Message = await _in_loop(receive(), loop)
            return message

        async def send_there(message: Message) -> None:
            await _in_loop(send(message), loop)

        # The whole path again: inside, the page is mounted below the same one.
        inner = {**scope, "root_path": scope.get("app_root_path", "")}
        await _in_loop(opened.app(inner, receive_there, send_there), opened.loop)

    def hang_up(self) -> None:
        """End the streams that each open page holds, which a server that stops would wait for. From any thread."""
        if self._opened is not None:
            self._opened.loop.call_soon_threadsafe(self._opened.stop_event.set)

    def close(self) -> None:
        """End the page's thread, if it was opened. Nothing must be under way."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _open(self) -> _Opened:
        """The page, built now if it is not there. Raises ClientError if the server does not describe itself."""
        with self._lock:
            if self._opened is None:
                self._opened = _Opened(self.url, public=self.public)
            return self._opened


class _Opened:
    """A page that was built, with its loop in its own thread."""

    def __init__(self, url: str, *, public: bool) -> None:
        with Server(url) as server:
            description = describe(server)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="playground", daemon=True)
        self._thread.start()

        async def start() -> Any:
            # Here, because Gradio makes a loop of its own, and leaves it open, where none runs.
            app = build_app(description, url, public=public)
            self._lifespan = app.router.lifespan_context(app)
            await self._lifespan.__aenter__()
            return app

        app = self._finish(start())
        self.app: App = CleanDocuments(app)
        self.stop_event: asyncio.Event = app.routes[-1].app.stop_event

    def close(self) -> None:
        """End what runs, and the loop."""
        self._finish(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _finish(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _end(self) -> None:
        await self._lifespan.__aexit__(None, None, None)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


async def _in_loop(awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop) -> Any:
    """The result of something that runs in another loop, and is cancelled there with this."""

    async def run() -> Any:
        return await awaitable

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))


async def _wait_page(problem: ClientError, send: Send) -> None:
    body = WAITING % escape(str(problem)).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": [*headers, (b"retry-after", b"3")]})
    await send({"type": "http.response.body", "body": body})


def build_app(description: ServerDescription, url: str, *, public: bool) -> Any:
    """The page as an app of FastAPI, mounted below PATH."""
    # Read by Gradio when it is imported, which takes seconds and is left to the first who opens the page.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr
    from fastapi import FastAPI

    from playground.page import CSS, THEME, build_page

    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        build_page(description, url, public=public),
        PATH,
        root_path=PATH,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        theme=THEME,
        css_paths=[CSS],
    )
