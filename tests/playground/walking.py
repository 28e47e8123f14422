"""Steps that a reader of the page takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
from playwright.async_api import Locator, Page, expect

from playground.state import SAMPLES

MILLISECONDS = 120_000
"""What a loaded machine may take to answer."""


def post(address: str, route: str, *samples: str, **options: Any) -> Any:
    """What the route itself answers for samples."""
    files = [("image", (sample, (SAMPLES / sample).read_bytes())) for sample in samples]
    response = httpx2.post(f"{address}{route}", files=files, data=options, timeout=120)
    assert response.status_code == 200, response.text
    return response.json()


async def open_tab(page: Page, name: str) -> None:
    """A tab by its name, also if it stands in the menu of those that have no room."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not await tab.is_visible():
        await page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    await tab.click()


async def open_part(page: Page, place: str) -> None:
    """A part of a panel that is folded."""
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
