"""Every panel of the page in a browser, against the answers of the routes themselves. `make browser-test`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Page, expect

from playground.state import SAMPLES
from tests.playground.conftest import WatchedPage
from tests.playground.walking import (
    MILLISECONDS,
    choose_files,
    choose_image,
    fill,
    open_part,
    open_tab,
    post,
    run_panel,
)

pytestmark = pytest.mark.slow

SCENE, PERSONS = "chair-and-cylinder.png", "two-persons.png"
LABELS = ["seven", "one", "four", "nine", "two"]


@pytest.fixture(autouse=True)
def _forget_errors(watched_page: WatchedPage) -> None:
    watched_page.wrong.clear()


def test_segmentation_has_the_legend_of_its_classes(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    segments = post(server_url, "/v1/segmentation", SCENE)["segments"]

    async def walk(page: Page) -> None:
        await open_tab(page, "Segmentation")
        await choose_image(page, "segmentation", SCENE)
        shown = await run_panel(page, "segmentation")
        for segment in segments:
            await expect(shown).to_contain_text(segment["name"])
            await expect(shown).to_contain_text(f"{segment['share']:.1%}")
        await expect(page.locator("#segmentation-picture img").first).to_be_visible()
        await watched_page.shoot("segmentation")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_referring_finds_what_was_typed(runner: asyncio.Runner, watched_page: WatchedPage, server_url: str) -> None:
    answer = post(server_url, "/v1/segmentation/referring", SCENE, expression="the purple cylinder")

    async def walk(page: Page) -> None:
        await open_tab(page, "Referring")
        await choose_image(page, "referring", SCENE)
        await fill(page, "#referring-expressions", "the purple cylinder")
        shown = await run_panel(page, "referring")
        await expect(shown).to_contain_text("the purple cylinder")
        await expect(shown).to_contain_text(f"{answer['masks'][0]['area']:,}")
        await watched_page.shoot("referring")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_pose_takes_boxes_that_are_drawn(runner: asyncio.Runner, watched_page: WatchedPage, server_url: str) -> None:
    answer = post(server_url, "/v1/pose", PERSONS, boxes="[[32, 32, 32, 80]]")

    async def walk(page: Page) -> None:
        await open_tab(page, "Pose")
        await choose_image(page, "pose", PERSONS)
        shown = await run_panel(page, "pose")
        await expect(shown).to_contain_text("boxes: by")
        await open_part(page, "#pose-draw")
        picture = page.locator("#pose-canvas img")
        await expect(picture).to_be_visible(timeout=MILLISECONDS)
        box = await picture.bounding_box()
        assert box is not None
        typed = page.locator("#pose-boxes textarea")
        for corner, boxes in (((0.25, 0.25), 0), ((0.5, 0.875), 1)):
            await picture.click(position={"x": box["width"] * corner[0], "y": box["height"] * corner[1]})
            if boxes:
                await expect(typed).not_to_have_value("", timeout=MILLISECONDS)
            else:  # the cross at the first corner is another picture
                await expect(picture).not_to_have_attribute("src", await picture.get_attribute("src") or "")
        drawn = [float(part) for part in (await typed.input_value()).split(",")]
        assert drawn == pytest.approx([32, 32, 32, 80], abs=2)
        await fill(page, "#pose-boxes", "32, 32, 32, 80")
        shown = await run_panel(page, "pose")
        await expect(shown).to_contain_text("1 person; boxes: as drawn", timeout=MILLISECONDS)
        await expect(shown).to_contain_text(f"score {answer['persons'][0]['score']:.3f}")
        for name in answer["names"]:
            await expect(shown).to_contain_text(name)
        await watched_page.shoot("pose")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_few_shot_learns_from_what_is_painted(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    async def walk(page: Page) -> None:
        await open_tab(page, "Few shot")
        await choose_image(page, "few-shot", "cross-blue.png")
        await page.locator("#few-shot-painter input[type=file]").first.set_input_files(SAMPLES / "cross-red.png")
        canvas = page.locator("#few-shot-painter canvas").first
        await expect(canvas).to_be_visible(timeout=MILLISECONDS)
        await page.wait_for_timeout(1500)  # the editor fits the picture into its frame
        await page.locator("#few-shot-painter").scroll_into_view_if_needed()
        box = await canvas.bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.45
        await page.mouse.move(x, y - 60)
        await page.mouse.down()
        await page.mouse.move(x, y + 60, steps=12)
        await page.mouse.up()
        await page.locator("#few-shot-add").click()
        await expect(page.locator("#few-shot-examples img").first).to_be_visible(timeout=MILLISECONDS)
        shown = await run_panel(page, "few-shot")
        await expect(shown).to_contain_text("object")
        await fill(page, "#few-shot-concept-name", "cross")
        await page.locator("#few-shot-keep").click()
        await expect(page.locator("#few-shot-example-message")).to_contain_text("Kept as", timeout=MILLISECONDS)
        await watched_page.shoot("few-shot")

    runner.run(walk(watched_page.page))
    concepts = httpx2.get(f"{server_url}/v1/concepts").json()["concepts"]
    assert [concept["name"] for concept in concepts] == ["cross"]
    watched_page.check()


def test_the_posterior_of_a_race_sharpens_and_can_be_stopped(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    answer = post(server_url, "/v1/classify/zero-shot", "seven.png", labels=LABELS, confidence="0.95")

    async def walk(page: Page) -> None:
        await open_tab(page, "Zero shot")
        await choose_image(page, "zero-shot", "seven.png")
        await fill(page, "#zero-shot-labels", "\n".join(LABELS))
        await open_part(page, "#zero-shot-options")
        await fill(page, "#zero-shot-confidence", "0.95")
        shown = await run_panel(page, "zero-shot")
        await expect(shown).to_contain_text("Stopped:", timeout=MILLISECONDS)
        await expect(shown.locator(".ds-best")).to_contain_text(answer["label"])
        for part in answer["posterior"]:
            await expect(shown).to_contain_text(f"{part['probability']:.3f}")
        await expect(shown.locator(".ds-dropped")).to_have_count(len(answer["dropped"]))
        await watched_page.shoot("zero-shot")
        await fill(page, "#zero-shot-confidence", "1")
        await page.locator("#zero-shot-run").click()
        await expect(shown).not_to_contain_text("Stopped:", timeout=MILLISECONDS)
        await page.locator("#zero-shot-stop").click()
        while httpx2.get(f"{server_url}/v1/models").json()["engine"]["open_requests"]:
            await page.wait_for_timeout(100)
        await expect(shown).not_to_contain_text("Stopped:")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_a_tree_of_labels_is_walked_down(runner: asyncio.Runner, watched_page: WatchedPage, server_url: str) -> None:
    tree = '{"furniture": ["chair", "table"], "shape": ["ball", "cone"]}'
    answer = post(server_url, "/v1/classify/label-tree", SCENE, tree=tree, budget="64")

    async def walk(page: Page) -> None:
        await open_tab(page, "Label tree")
        await choose_image(page, "label-tree", SCENE)
        await fill(page, "#label-tree-tree", tree)
        await open_part(page, "#label-tree-options")
        await fill(page, "#label-tree-budget", "64")
        shown = await run_panel(page, "label-tree")
        await expect(shown).to_contain_text(" → ".join(answer["path"]), timeout=MILLISECONDS)
        await watched_page.shoot("label-tree")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_several_images_give_vectors_and_scores(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    names = ["seven.png", "cross-red.png"]
    features = post(server_url, "/v1/features", *names)
    scores = post(server_url, "/v1/match/image-text", *names, captions=["a seven", "a red cross"], interval=200)

    async def walk(page: Page) -> None:
        await open_tab(page, "Features")
        await choose_files(page, "#features-images", [SAMPLES / name for name in names])
        shown = await run_panel(page, "features")
        await expect(shown).to_contain_text(f"2 vectors of {features['dimension']} numbers")
        await watched_page.shoot("features")
        await open_tab(page, "Image text")
        await choose_files(page, "#image-text-images", [SAMPLES / name for name in names])
        await fill(page, "#image-text-captions", "a seven\na red cross")
        await open_part(page, "#image-text-options")
        await fill(page, "#image-text-interval", "200")
        shown = await run_panel(page, "image-text")
        for row in scores["corrected_scores"]:
            for value in row:
                await expect(shown).to_contain_text(f"{value:.4f}")
        await watched_page.shoot("image-text")

    runner.run(walk(watched_page.page))
    watched_page.check()


def folder_of(parent: Path, name: str, pattern: str) -> Path:
    """A folder with the samples that a pattern names."""
    folder = parent / name
    folder.mkdir()
    for sample in SAMPLES.glob(pattern):
        (folder / sample.name).write_bytes(sample.read_bytes())
    return folder


def test_two_folders_make_a_classifier_that_can_be_used(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str, tmp_path: Path
) -> None:
    folders = [folder_of(tmp_path, "crosses", "cross-*.png"), folder_of(tmp_path, "scenes", "*-and-*.png")]

    async def walk(page: Page) -> None:
        await open_tab(page, "Fit a classifier")
        await fill(page, "#fit-name", "shapes")
        for number, folder in enumerate(folders, 1):
            await page.locator(f"#fit-folder-{number} input[type=file]").set_input_files(folder)
            listed = page.locator(f"#fit-folder-{number}")
            last = sorted(file.stem for file in folder.iterdir())[-1]
            await expect(listed).to_contain_text(last, timeout=MILLISECONDS)
            await fill(page, f"#fit-class-{number}", folder.name)
        shown = await run_panel(page, "fit")
        await expect(shown).to_contain_text("Confusion matrix")
        await expect(shown).to_contain_text("crosses")
        await watched_page.shoot("fit")
        (classifier,) = httpx2.get(f"{server_url}/v1/classifiers").json()["classifiers"]
        await open_tab(page, "Classifier")
        await choose_files(page, "#classifier-images", [SAMPLES / "cross-red.png"])
        await page.locator("#classifier-classifier input").click()
        await page.get_by_role("option", name="shapes").click()
        shown = await run_panel(page, "classifier")
        answer = post(server_url, f"/v1/classify/{classifier['id']}", "cross-red.png")
        await expect(shown).to_contain_text(f"{answer['answers'][0]['probability']:.3f}")
        await watched_page.shoot("classifier")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_a_job_is_watched_to_its_end(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no picture")

    async def walk(page: Page) -> None:
        await open_tab(page, "Jobs")
        await choose_files(page, "#job-files", [SAMPLES / "seven.png", SAMPLES / SCENE, damaged])
        await page.locator("#job-run").click()
        shown = page.locator("#job-state")
        await expect(shown).to_contain_text("done: 2 of 3 images, 1 failed", timeout=MILLISECONDS)
        await expect(shown).to_contain_text("damaged.png")
        await expect(page.locator("#job-failures img").first).to_be_visible(timeout=MILLISECONDS)
        await page.locator("#job-fetch").click()
        await expect(page.locator("#job-download")).to_contain_text("jsonl", timeout=MILLISECONDS)
        await watched_page.shoot("jobs")

    runner.run(walk(watched_page.page))
    (job,) = httpx2.get(f"{server_url}/v1/jobs").json()["jobs"]
    assert (job["status"], job["done"], job["failed"]) == ("done", 2, 1)
    watched_page.check()


def test_the_server_says_what_is_wrong_in_its_own_words(
    runner: asyncio.Runner, watched_page: WatchedPage, server_url: str
) -> None:
    files = {"image": (SCENE, (SAMPLES / SCENE).read_bytes())}
    problem = httpx2.post(f"{server_url}/v1/depth", files=files, data={"scene": "moon"}).json()

    async def walk(page: Page) -> None:
        await open_tab(page, "Depth")
        await choose_image(page, "depth", SCENE)
        await open_part(page, "#depth-options")
        await fill(page, "#depth-scene", "moon")
        shown = await run_panel(page, "depth")
        await expect(shown.locator("[role=alert]")).to_contain_text(problem["detail"])
        await expect(shown).to_contain_text(problem["hint"].replace("`", ""))
        await open_tab(page, "Server")
        await expect(page.locator("#server-state")).to_contain_text("READY", timeout=MILLISECONDS)
        await watched_page.shoot("server")
        await page.locator("#dark").click()
        await open_tab(page, "Depth")
        await watched_page.shoot("problem-dark")

    runner.run(walk(watched_page.page))
    watched_page.check()


def test_a_key_stays_in_the_page(runner: asyncio.Runner, watched_page: WatchedPage) -> None:
    secret = "ds-never-kept"

    async def walk(page: Page) -> None:
        await watched_page.open()
        await open_part(page, "#access")
        await fill(page, "#api-key", secret)
        await open_tab(page, "Depth")
        await choose_image(page, "depth", SCENE)
        await run_panel(page, "depth")
        await open_part(page, "#depth-same")
        await expect(page.locator("#depth-curl")).to_contain_text("$DIFFSIGHT_KEY")
        await expect(page.locator("#depth-python")).to_contain_text("api_key=os.environ")
        stores = "[JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie].join()"
        assert secret not in await page.evaluate(stores)
        assert secret not in await page.locator("body").inner_text()
        await watched_page.shoot("key")
        await watched_page.open()
        await open_part(page, "#access")
        await expect(page.locator("#api-key input")).to_have_value("")

    runner.run(walk(watched_page.page))
    watched_page.check()
