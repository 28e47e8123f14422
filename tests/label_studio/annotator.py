"""What an annotator does in the pages of Label Studio: look, draw, accept, correct, submit."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

ANSWER_MS = 180_000
"""How long a page may take on a loaded machine."""
Point = tuple[float, float]

_MOVED = """([label, x]) => Htx.annotationStore.selected.serializeAnnotation().some(
  ({ value }) => (value.keypointlabels ?? []).includes(label) && Math.abs(value.x - x) < 0.5)"""


def open_task(page: Page, url: str, project: int, task: int) -> None:
    """Open one task in the editor, and wait for its picture."""
    page.goto(f"{url}/projects/{project}/data?task={task}")
    page.wait_for_selector(".konvajs-content canvas", timeout=ANSWER_MS)
    page.wait_for_timeout(2000)


def regions(page: Page) -> dict[str, dict[str, Any]]:
    """The regions of the annotation on the page, as they would be submitted, by their ids."""
    serialized = page.evaluate("() => Htx.annotationStore.selected.serializeAnnotation()")
    return {region["id"]: region for region in serialized}


def draw_person(page: Page, upper_left: Point, lower_right: Point) -> dict[str, dict[str, Any]]:
    """Draw a rectangle with the tool for auto-detection, wait for points and accept them; all regions then."""
    if not page.locator(".lsf-tool_smart.lsf-tool_active").count():  # a second click would choose the next tool
        page.locator(".lsf-tool_smart").first.click()
    page.keyboard.press("1")  # the label `person`
    _drag(page, upper_left, lower_right)
    page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size > 0", timeout=ANSWER_MS)
    page.get_by_test_id("bottombar-accept-suggestions-button").click()
    page.wait_for_function("() => Htx.annotationStore.selected.suggestions.size === 0", timeout=ANSWER_MS)
    page.wait_for_timeout(1000)
    return regions(page)


def correct_newest_point(page: Page, label: str, x: float) -> dict[str, dict[str, Any]]:
    """Select the newest point of a label in the list of regions and write another x, in percent; all regions then.

    On the image the mouse would grab a rectangle above the point.
    """
    closed = page.locator(".lsf-tree-switcher_close")
    for left in reversed(range(closed.count())):
        closed.first.click()
        expect(closed).to_have_count(left, timeout=ANSWER_MS)  # an open one has another name
    point = page.locator(".lsf-tree__node_type_keypointregion", has_text=label).last
    point.click()
    field = page.locator(".lsf-region-editor input").first
    field.fill(str(x))
    field.press("Enter")
    page.wait_for_function(_MOVED, arg=[label, x], timeout=ANSWER_MS)
    point.click()  # and unselect it
    return regions(page)


def submit(page: Page) -> None:
    """Submit the annotation."""
    with page.expect_response(lambda response: "/annotations" in response.url and response.ok, timeout=ANSWER_MS):
        page.get_by_role("button", name="Submit").click()


def _drag(page: Page, start: Point, end: Point) -> None:
    """Press at one point of the image and let go at another. Points are in percent of the image."""
    box = page.locator(".konvajs-content").first.bounding_box()
    assert box is not None
    first, last = ((box["x"] + box["width"] * x / 100, box["y"] + box["height"] * y / 100) for x, y in (start, end))
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*last, steps=10)
    page.mouse.up()
