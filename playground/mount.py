"""The page as an ASGI app. It is built when it is first opened, and runs beside the server's event loop."""

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
    """Whether the packages of the extra `playground` are installed. It imports none of them."""
    return importlib.util.find_spec("gradio") is not None


class PlaygroundApp:
    """The page for the server at `url`, below PATH.

    Gradio reads uploads and writes pictures in its event loop. It gets its own loop and thread, so that the server's
    loop continues to answer. public: whether readers use the same `url`, or the address of the page.
    """

    def __init__(self, url: str, *, public: bool) -> None:
        self.url = url
        self.public = public
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request in the page's own loop, or with a page that waits if the server does not describe itself
        yet.
        """
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

        # The whole path, because the page is mounted below the same path inside.
        inner = {**scope, "root_path": scope.get("app_root_path", "")}
        await _in_loop(opened.app(inner, receive_there, send_there), opened.loop)

    def hang_up(self) -> None:
        """End the streams of all open pages, for which a stopping server would wait. Any thread may call it."""
        if self._opened is not None:
            self._opened.loop.call_soon_threadsafe(self._opened.stop_event.set)

    def close(self) -> None:
        """End the page's thread, if it was started. No request may be open."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _open(self) -> _Opened:
        """The page; builds it if it does not exist. Raises ClientError if the server does not describe itself."""
        with self._lock:
            if self._opened is None:
                self._opened = _Opened(self.url, public=self.public)
            return self._opened


class _Opened:
    """A built page, with its loop in its own thread."""

    def __init__(self, url: str, *, public: bool) -> None:
        with Server(url) as server:
            description = describe(server)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="playground", daemon=True)
        self._thread.start()

        async def start() -> Any:
            # Here, because Gradio would create a loop of its own, and leave it open, if none runs.
            app = build_app(description, url, public=public)
            self._lifespan = app.router.lifespan_context(app)
            await self._lifespan.__aenter__()
            return app

        app = self._finish(start())
        self.app: App = CleanDocuments(app)
        self.stop_event: asyncio.Event = app.routes[-1].app.stop_event

    def close(self) -> None:
        """Cancel the tasks of the loop, and end it."""
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
    """The result of a coroutine in another loop; if this call is cancelled, the coroutine is cancelled too."""

    async def run() -> Any:
        return await awaitable

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), loop))


async def _wait_page(problem: ClientError, send: Send) -> None:
    body = WAITING % escape(str(problem)).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": [*headers, (b"retry-after", b"3")]})
    await send({"type": "http.response.body", "body": body})


def build_app(description: ServerDescription, url: str, *, public: bool) -> Any:
    """The page as a FastAPI app, mounted below PATH."""
    # Gradio reads them at its import, which takes seconds, so it happens when the page is first opened.
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
