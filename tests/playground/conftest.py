"""A real browser on the page of a real server. Console errors and requests to other hosts are failures."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, ViewportSize, async_playwright

from playground.mount import PATH
from tests.diffsight.command import ENVIRONMENT, SCRIPT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPEN_MILLISECONDS = 120_000
"""The first visit imports Gradio and builds the page."""
DESKTOP, PHONE = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)
STOP_SECONDS = 60
SETTLE_MILLISECONDS = 600
"""For screenshots only: no check depends on it."""
OUT = Path(__file__).parents[2] / "out" / "playground"


@dataclass
class WatchedPage:
    """A page, and all errors on it."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note errors of the console and of scripts, refused files, and requests to other hosts."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    async def open(self) -> None:
        """Open the page, and wait until it can be used."""
        await self.page.goto(f"{self.address}{PATH}/", timeout=OPEN_MILLISECONDS)
        await self.page.get_by_role("tab").first.wait_for(timeout=OPEN_MILLISECONDS)

    def check(self) -> None:
        """Raise AssertionError if there was an error."""
        assert not self.wrong, "\n".join(self.wrong)

    async def shoot(self, name: str) -> None:
        """Pictures of the whole page at the width of a desk and of a phone, in out/playground/."""
        OUT.mkdir(parents=True, exist_ok=True)
        for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
            await self.page.set_viewport_size(size)
            await self.page.wait_for_timeout(SETTLE_MILLISECONDS)
            await self.page.screenshot(path=OUT / f"{name}-{width}.png", full_page=True)
        await self.page.set_viewport_size(DESKTOP)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error",):
            self.wrong.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != urlsplit(self.address).netloc:
            self.wrong.append(f"a request to another host: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"{response.status} {response.url}")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """A loop for one module's browser. Playwright's synchronous API mixes stacks, which breaks pytest's reports."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def browser(runner: asyncio.Runner) -> Iterator[Browser]:
    """Debian's Chromium, without a screen. The sandbox of a browser cannot be had as root."""
    command = next(filter(None, map(shutil.which, BROWSERS)), None)
    if command is None:
        pytest.fail("no Chromium: run `sh docker/system-packages.sh python3 tests`, or install it")
    playwright = runner.run(async_playwright().start())
    browser = runner.run(playwright.chromium.launch(executable_path=command, args=["--no-sandbox"]))
    yield browser
    runner.run(browser.close())
    runner.run(playwright.stop())


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `diffsight serve` with its page, in a process of its own, as a user starts it."""
    folder = tmp_path_factory.mktemp("served")
    environment = {**ENVIRONMENT, "DIFFSIGHT_DATA_FOLDER": str(folder / "data")}
    command = [str(SCRIPT), "serve", "--port", "0", "--device", "cpu"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None
            assert "ready" in process.stdout.readline(), (folder / "log").read_text()
            yield address[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=STOP_SECONDS)


@pytest.fixture(scope="module")
def watched_page(runner: asyncio.Runner, browser: Browser, server_url: str) -> Iterator[WatchedPage]:
    """The page of the server at desktop width, open."""
    page = runner.run(browser.new_page(viewport=DESKTOP))
    page_watch = WatchedPage(page, server_url)
    page_watch.watch()
    runner.run(page_watch.open())
    yield page_watch
    runner.run(page.close())
