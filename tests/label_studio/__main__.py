"""Scenes of annotators' work in a real Label Studio, in a real browser, with a real server as its ML backend.

`make label-studio-check` runs it in an environment of its own, which has Label Studio and Playwright. The last line
counts the scenes. Screenshots and logs lie in the folder that the first argument names; further arguments, such as
`two_persons`, choose among the scenes.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.label_studio.annotator import ANSWER_MS, correct_newest_point, draw_person, open_task, regions, submit
from tests.label_studio.servers import ROOT, diffsight, free_port, label_studio
from tests.label_studio.studio import CHOICES, POINTS, Studio

SCENES = ROOT / "training/world/held_out/scenes/images"
MANY = 1_100


def wrong_token(studio: Studio, backend: str, out: Path) -> int:
    """Without the right token no prediction is stored. Returns the project, for the server with the right token."""
    project = studio.add_project("a wrong token", POINTS)
    studio.connect(project, backend)
    studio.upload(project, [SCENES / "000000.png", SCENES / "000002.png"])
    studio.retrieve(project)
    kept = studio.predictions(project)
    assert kept == [], f"{len(kept)} predictions were kept"
    return project


def right_token(studio: Studio, project: int, out: Path) -> None:
    """With the right token, predictions are stored."""
    studio.retrieve(project)
    kept = studio.predictions(project)
    assert len(kept) == 2, f"{len(kept)} predictions"
    assert all(prediction["result"] for prediction in kept)
    open_task(studio.page, studio.url, project, studio.tasks(project)[0])
    studio.page.screenshot(path=str(out / "right-token.png"))


def two_persons(studio: Studio, backend: str, out: Path) -> None:
    """Draw two persons, one after the other: a correction between them stays, and all other regions do."""
    pair = Image.new("RGB", (256, 128))
    for at, name in enumerate(("000000.png", "000002.png")):
        with Image.open(SCENES / name) as scene:
            pair.paste(scene.convert("RGB"), (128 * at, 0))
    file = out / "two persons ä.png"
    pair.save(file)
    project = studio.add_project("two persons", POINTS)
    studio.connect(project, backend)
    (task,) = studio.upload(project, [file])
    page = studio.page
    open_task(page, studio.url, project, task)
    # Label Studio asks for predictions of its own when a task is opened, and begins the annotation with them.
    predicted = regions(page)
    first = draw_person(page, (6, 20), (27, 93))
    page.screenshot(path=str(out / "first-person.png"))
    drawn = _check_added(predicted, first)
    assert all(5 < region["value"]["x"] < 30 for region in drawn), drawn
    (nose,) = (region["id"] for region in drawn if region["value"].get("keypointlabels") == ["nose"])
    x = first[nose]["value"]["x"] + 6
    corrected = correct_newest_point(page, "nose", x)
    assert abs(corrected[nose]["value"]["x"] - x) < 0.5, (first[nose], corrected[nose])
    both = draw_person(page, (85.5, 39), (95, 82))
    page.screenshot(path=str(out / "second-person.png"))
    assert all(region["value"]["x"] > 80 for region in _check_added(corrected, both))
    submit(page)
    (annotation,) = studio.task(task)["annotations"]
    stored = {region["id"]: region["value"] for region in annotation["result"]}
    assert stored == {name: region["value"] for name, region in both.items()}


def _check_added(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions that were added: one rectangle and its points. All others must be as they were."""
    assert {name: after.get(name) for name in before} == before, (before, after)
    added = [region for name, region in after.items() if name not in before]
    (box,) = (region["id"] for region in added if region["type"] == "rectanglelabels")
    points = [region for region in added if region["type"] == "keypointlabels"]
    assert points, added
    assert {point["parentID"] for point in points} == {box}, added
    return added


def many_tasks(studio: Studio, backend: str, out: Path) -> None:
    """1,100 tasks: each retrieval brings more, until all have a prediction."""
    project = studio.add_project("many", POINTS)
    studio.connect(project, backend)
    (first,) = studio.upload(project, [SCENES / "000000.png"])
    address = studio.task(first)["data"]["image"]
    tasks = studio.import_tasks(project, [{"image": address} for _ in range(MANY - 1)])
    assert len(tasks) == MANY, len(tasks)
    before, calls = 0, 0
    while before < MANY:
        studio.retrieve(project)
        calls += 1
        now = len(studio.predictions(project))
        print(f"  {now} of {MANY} after {calls} retrievals", flush=True)
        assert now > before, "a retrieval brought nothing"
        before = now
    assert before == MANY, before


def job_export(studio: Studio, backend: str, out: Path, photos: Path) -> None:
    """A job's export is imported; its pictures and predictions are shown."""
    packed = io.BytesIO()
    names = ["000000.png", "a b/ä 2.png"]
    with zipfile.ZipFile(packed, "w") as archive:
        for source, name in zip(("000000.png", "000002.png"), names, strict=True):
            (photos / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SCENES / source, photos / name)
            archive.write(photos / name, name)
    sent = {"Content-Type": "application/zip"}
    job = studio.requests.post(f"{backend}/v1/jobs?task=pose", data=packed.getvalue(), headers=sent).json()["id"]
    while (status := studio.requests.get(f"{backend}/v1/jobs/{job}").json()["status"]) in ("queued", "running"):
        time.sleep(0.5)
    assert status == "done", status
    query: dict[str, Any] = {"format": "label-studio", "image_prefix": "/data/local-files/?d=photos/"}
    tasks = studio.requests.get(f"{backend}/v1/jobs/{job}/results", params=query).json()
    project = studio.add_project("a job", POINTS)
    studio.connect_folder(project, photos)
    imported = studio.import_tasks(project, tasks)
    assert len(imported) == len(studio.predictions(project)) == 2
    for at, task in enumerate(imported):
        with studio.page.expect_response(lambda response: "local-files" in response.url) as answer:
            open_task(studio.page, studio.url, project, task)
        assert answer.value.ok, answer.value.status
        assert "issue loading URL" not in studio.page.content()
        assert regions(studio.page) or studio.task(task)["predictions"][0]["result"]
        studio.page.screenshot(path=str(out / f"job-{at}.png"))


def choices_zero_shot(studio: Studio, backend: str, out: Path) -> None:
    """Choices are predicted without any training."""
    _predict_choices(studio, backend, out, "zero-shot")


def choices_classifier(studio: Studio, backend: str, out: Path) -> None:
    """Choices are predicted by a classifier that was fitted to a few pictures of them."""
    labels = ["red"] * 4 + ["blue"] * 4
    images = [base64.b64encode(_plain(label, at)).decode() for at, label in enumerate(labels)]
    made = studio.requests.post(
        f"{backend}/v1/classifiers", data={"images": images, "labels": labels, "name": "colours"}, timeout=120_000
    )
    assert made.ok, made.text()
    assert _predict_choices(studio, backend, out, "classifier") == ["red", "blue"]


def _predict_choices(studio: Studio, backend: str, out: Path, task: str) -> list[str]:
    project = studio.add_project(task, CHOICES)
    studio.connect(project, backend)
    files = []
    for name in ("red", "blue"):
        files.append(out / f"{name}.png")
        files[-1].write_bytes(_plain(name, 9))
    tasks = studio.upload(project, files)
    studio.retrieve(project)
    kept = sorted(studio.predictions(project), key=lambda prediction: int(prediction["task"]))
    assert len(kept) == 2, kept
    assert all(item["model_version"].split()[2] == task for item in kept), kept
    open_task(studio.page, studio.url, project, tasks[0])
    studio.page.screenshot(path=str(out / f"choices-{task}.png"))
    return [item["result"][0]["value"]["choices"][0] for item in kept]


def _plain(colour: str, at: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48 + at, 48), colour).save(file, "PNG")
    return file.getvalue()


def _play(name: str, scene: Callable[..., Any], *things: Any) -> tuple[bool, Any]:
    """One scene: whether it went well, and what it gave."""
    started = time.monotonic()
    try:
        result = scene(*things)
    except Exception:
        traceback.print_exc()
        print(f"FAILED {name}", flush=True)
        return False, None
    print(f"ok     {name} ({time.monotonic() - started:.0f} s)", flush=True)
    return True, result


def main(out: Path, chosen: Sequence[str]) -> int:
    """Play the named scenes, by default all; 1 if one failed."""
    out.mkdir(parents=True, exist_ok=True)
    port = free_port()
    done: list[bool] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        label_studio(Path(scratch), out, Path(scratch) / "files") as url,
        sync_playwright() as play,
    ):
        photos = Path(scratch) / "files/photos"
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1600, "height": 1000}).new_page()
        page.set_default_timeout(ANSWER_MS)
        page.context.add_init_script("localStorage.setItem('autoAnnotation', 'true')")
        studio = Studio(page, play.request.new_context(), url)
        with diffsight(Path(scratch), out, port, url, f"{studio.token}x") as backend:
            well, project = _play("a wrong token keeps nothing", wrong_token, studio, backend, out)
            done.append(well)
        with diffsight(Path(scratch), out, port, url, studio.token) as backend:
            done.append(_play("the right token brings predictions", right_token, studio, project, out)[0])
            scenes: list[Callable[..., Any]] = [
                two_persons,
                choices_zero_shot,
                choices_classifier,
                partial(job_export, photos=photos),
                many_tasks,
            ]
            names = ["two_persons", "choices_zero_shot", "choices_classifier", "job_export", "many_tasks"]
            for name, scene in zip(names, scenes, strict=True):
                if not chosen or name in chosen:
                    done.append(_play(name.replace("_", " "), scene, studio, backend, out)[0])
        browser.close()
    print(f"label-studio-check: {sum(done)} of {len(done)} scenes")
    return 0 if all(done) else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
