"""Steps that a reader of the page takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
from playwright.async_api import Locator, Page, TimeoutError, expect

from playground.state import SAMPLES

_MOMENT = 2_000
MILLISECONDS = 120_000
"""The longest wait for an answer on a loaded machine."""


def post(address: str, route: str, *samples: str, **options: Any) -> Any:
    """The answer of the route itself to samples."""
    files = [("image", (sample, (SAMPLES / sample).read_bytes())) for sample in samples]
    response = httpx2.post(f"{address}{route}", files=files, data=options, timeout=120)
    assert response.status_code == 200, response.text
    return response.json()


def run_shown(source: str) -> None:
    """Run the Python that a panel shows, and close its client."""
    names: dict[str, Any] = {}
    exec(source, names)
    names["client"].close()


async def open_tab(page: Page, name: str) -> None:
    """Open a tab by its name, also from the menu of hidden tabs.

    The page lays out its tabs again some time after its width has changed: a tab may move during the click.
    """
    tab = page.get_by_role("tab", name=name, exact=True)
    listed = page.locator(".overflow-dropdown").get_by_text(name, exact=True)
    while await tab.get_attribute("aria-selected") != "true":
        try:
            if not await tab.is_visible() and not await listed.is_visible():
                await page.locator(".overflow-menu > button").first.click(timeout=_MOMENT)
            await (listed if await listed.is_visible() else tab).click(timeout=_MOMENT)
        except TimeoutError:
            continue


async def open_part(page: Page, place: str) -> None:
    """Open a folded part of a panel."""
    await page.locator(f"{place} > button").first.click()


async def fill(page: Page, place: str, text: str) -> None:
    """Type into a control."""
    await page.locator(f"{place} textarea, {place} input").first.fill(text)


async def choose_image(page: Page, task: str, sample: str) -> None:
    """Put a sample into the panel's image, as a dropped file."""
    await page.locator(f"#{task}-image input[type=file]").set_input_files(SAMPLES / sample)
    await expect(page.locator(f"#{task}-image img").first).to_be_visible(timeout=MILLISECONDS)


async def choose_files(page: Page, place: str, files: list[Path]) -> None:
    """Drop files, and wait until they are listed."""
    await page.locator(f"{place} input[type=file]").set_input_files(files)
    await expect(page.locator(f"{place} .file-preview, {place} table").first).to_be_visible(timeout=MILLISECONDS)


async def run_panel(page: Page, name: str) -> Locator:
    """Press Run, and wait for the answer."""
    await page.locator(f"#{name}-run").click()
    shown = page.locator(f"#{name}-answer")
    await expect(shown.locator(".ds-spent, .ds-problem").first).to_be_visible(timeout=MILLISECONDS)
    return shown
