"""The page in a browser, in short: one panel from an image to the answer. `make browser-test` goes through all."""

from __future__ import annotations

import asyncio

import httpx2
from playwright.async_api import expect

from playground.page import tab_name
from tests.playground.conftest import WatchedPage
from tests.playground.walking import choose_image, post, run_panel

SAMPLE = "chair-and-cylinder.png"


def test_an_image_gives_the_depth_that_the_route_answers(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    answer = post(server_url, "/v1/depth", SAMPLE)

    async def walk() -> None:
        page = watched_page.page
        await choose_image(page, "depth", SAMPLE)
        shown = await run_panel(page, "depth")
        await expect(shown).to_contain_text(f"{answer['statistics']['median']:.3f} metre")
        await expect(shown).to_contain_text("1 U-Net row")
        await expect(page.locator("#depth-picture img").first).to_be_visible()
        await page.locator("#depth-same button").first.click()
        await expect(page.locator("#depth-curl")).to_contain_text(f"{server_url}/v1/depth")
        await expect(page.locator("#depth-python")).to_contain_text("client.depth")
        await watched_page.shoot("depth")

    runner.run(walk())
    watched_page.check()


def test_the_root_leads_to_the_page(server_url: str) -> None:
    assert httpx2.get(server_url).headers["location"] == "/playground/"


def test_a_task_is_named_for_people() -> None:
    assert tab_name("few-shot") == "Few shot"
