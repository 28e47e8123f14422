"""Many images through one task as a durable job: begun, watched, its failures as pictures, its results to download."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from diffsight_client import ClientError, Job
from playground import report, snippets
from playground.description import ServerDescription
from playground.downloads import save
from playground.panels.inputs import PICTURES
from playground.panels.results import make_code
from playground.state import Page, samples

_MOST_PICTURES = 24


@dataclass(frozen=True, slots=True)
class Watched:
    """The controls that show a job."""

    id: Any
    html: Any
    failures: Any
    formats: Any
    curl: Any
    python: Any

    @property
    def outputs(self) -> list[Any]:
        """The controls in the order of what a handler returns."""
        return [self.id, self.html, self.failures, self.formats, self.curl, self.python]


def job_panel(page: Page, tab: Any) -> None:
    """Build the panel of jobs."""
    gr.Markdown("**Many images through one task** · `POST /v1/jobs` · a job goes on if this page is closed.")
    with gr.Row():
        with gr.Column(min_width=300):
            new_job = _make_new_job([form.name for form in page.description.tasks])
            start = gr.Button("Begin the job", variant="primary", elem_id="job-run")
            known = gr.Dropdown(
                choices=[], label="Or a job that was begun before", interactive=True, elem_id="job-known"
            )
            watch = gr.Button("Watch it", elem_id="job-watch")
        with gr.Column(min_width=300):
            shown = _make_watched()
            with gr.Row():
                form = gr.Radio([], label="Results as", visible=False, elem_id="job-form")
                fetch = gr.Button("Fetch the results", elem_id="job-fetch")
            file = gr.File(label="Results", interactive=False, visible=False, elem_id="job-download")
            message = gr.HTML()
    shown = Watched(shown.id, shown.html, shown.failures, form, shown.curl, shown.python)

    def begin(
        request: gr.Request, key: str, paths: Sequence[str] | None, name: str, typed: str
    ) -> Iterator[tuple[Any, ...]]:
        yield from begin_job(page, key, page.address(request), paths or (), name, typed or "")

    def watch_known(request: gr.Request, key: str, job: str | None) -> Iterator[tuple[Any, ...]]:
        yield from watch_job(page, key, page.address(request), job)

    def refresh(key: str) -> Any:
        return job_choices(page, key)

    for button, handler, inputs in (
        (start, begin, [page.key, *new_job]),
        (watch, watch_known, [page.key, known]),
    ):
        button.click(
            handler, inputs, shown.outputs, api_visibility="private", concurrency_limit=None, show_progress="hidden"
        )
    for event in (tab.select, known.focus):
        event(refresh, page.key, known, api_visibility="private", show_progress="hidden")
    fetch.click(
        lambda key, job, form: fetch_results(page, key, job, form, file),
        [page.key, shown.id, form],
        [file, message],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="minimal",
    )


def _make_new_job(tasks: Sequence[str]) -> tuple[Any, Any, Any]:
    """Controls that describe a job to begin: its files, its task, and the task's parameters."""
    files = gr.File(
        file_count="multiple", file_types=[*PICTURES, "video"], label="Images, a zip, or a video", height=170,
        elem_id="job-files",
    )  # fmt: skip
    gr.Examples(
        [[samples()]], inputs=[files], example_labels=["All sample pictures"], label="Samples", elem_id="job-samples"
    )
    task = gr.Dropdown(tasks, value=tasks[0] if tasks else None, label="Task", elem_id="job-task")
    parameters = gr.Textbox(
        label="Parameters", lines=2, placeholder="{ } as JSON", elem_id="job-parameters",
        info="Options of the task, as its own panel names them. What is left out gets its default.",
    )  # fmt: skip
    return files, task, parameters


def _make_watched() -> Watched:
    job = gr.State("")
    html = gr.HTML(elem_id="job-state")
    failures = gr.Gallery(
        label="Images that failed",
        columns=4,
        height=200,
        object_fit="contain",
        elem_classes="ds-gallery",
        visible=False,
        interactive=False,
        buttons=[],
        elem_id="job-failures",
    )
    with gr.Accordion("The same from a shell and from Python", open=False, elem_id="job-same"):
        curl, python = make_code("curl", "shell", "job-curl"), make_code("Python", "python", "job-python")
    return Watched(job, html, failures, None, curl, python)


def begin_job(
    page: Page, key: str, address: str, paths: Sequence[str], task: str, typed: str
) -> Iterator[tuple[Any, ...]]:
    """What is shown from a job's beginning to its end."""
    if not paths:
        yield _only(report.advise("Choose images first: drop files, a zip or a video, or take the samples."))
        return
    try:
        parameters = json.loads(typed) if typed.strip() else {}
    except ValueError as error:
        yield _only(report.advise(f"The parameters are no JSON: {error}."))
        return
    commands = same_job(address, paths, task, parameters, keyed=bool(key))
    try:
        with page.server(key) as server:
            job = server.begin_job(task, [Path(path) for path in paths], parameters=parameters)
            yield from _watch(job, {Path(path).name: path for path in paths}, page.description, commands)
    except (ClientError, OSError) as error:
        yield ("", report.show_problem(error), gr.skip(), gr.skip(), *commands)


def watch_job(page: Page, key: str, address: str, job: str | None) -> Iterator[tuple[Any, ...]]:
    """What is shown of a job that was begun before, until its end."""
    if not job:
        yield _only(report.advise("Choose a job first."))
        return
    keyed = bool(key)
    header = f'-H "Authorization: Bearer ${snippets.KEY_VARIABLE}" ' if keyed else ""
    commands = (
        f"curl -sN {header}{address}/v1/jobs/{job}/events",
        snippets.python(address, "job", {}, positional=[job], keyed=keyed),
    )
    try:
        with page.server(key) as server:
            yield from _watch(server.job(job), {}, page.description, commands)
    except (ClientError, OSError) as error:
        yield ("", report.show_problem(error), gr.skip(), gr.skip(), *commands)


def _watch(
    job: Job, paths: Mapping[str, str], description: ServerDescription, commands: tuple[str, str]
) -> Iterator[tuple[Any, ...]]:
    yield (job.id, show_job(job.details.model_dump()), gr.update(visible=False), gr.update(visible=False), *commands)
    for state in job.watch():
        yield (job.id, show_job(state.model_dump()), gr.skip(), gr.skip(), gr.skip(), gr.skip())
    failed = [] if not job.details.failed else list(job.failures())[:_MOST_PICTURES]
    pictures = [(picture_of_failure(paths.get(line["image_name"])), line["image_name"]) for line in failed]
    forms = list(job.details.formats)
    yield (
        job.id,
        show_job(job.details.model_dump(), failed),
        gr.update(value=pictures, visible=bool(pictures)),
        gr.update(choices=forms, value=forms[0] if forms else None, visible=True),
        gr.skip(),
        gr.skip(),
    )


def _only(html: str) -> tuple[Any, ...]:
    return ("", html, gr.skip(), gr.skip(), gr.skip(), gr.skip())


def show_job(job: Mapping[str, Any], failed: Sequence[Mapping[str, Any]] = ()) -> str:
    """How far a job is."""
    total = job["total"] or 0
    done, wrong = (100 * job[name] / max(1, total) for name in ("done", "failed"))
    ahead = job["done"] + job["failed"]
    bar = (
        f'<div class="ds-progress" role="progressbar" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{ahead}"'
        f' aria-label="Images done"><span style="width:{done:.1f}%;float:left"></span>'
        f'<span class="ds-failed" style="width:{wrong:.1f}%;float:left"></span></div>'
    )
    left = "" if job["seconds_left"] is None else f", about {job['seconds_left']:.0f} s left"
    line = f"{job['status']}: {job['done']} of {job['total'] or '?'} images, {job['failed']} failed"
    rate = f", {job['images_per_second']:.1f} a second" if job["images_per_second"] else ""
    error = report.advise(str(job["error"])) if job["error"] else ""
    reasons = (
        report.table(("Image", "Why it failed"), [(failure["image_name"], failure["error"]) for failure in failed])
        if failed
        else ""
    )
    return (
        f'<p role="status"><b>{escape(job["task"])}</b> · {escape(line)}{escape(rate)}{escape(left)}</p>{bar}'
        f'<p class="ds-spent">Job {escape(job["id"])}</p>{error}{reasons}'
    )


def picture_of_failure(path: str | None) -> Image.Image:
    """The image that failed, small; a crossed square if it cannot be read, or is not here."""
    if path:
        try:
            with Image.open(path) as opened:
                opened.draft("RGB", (256, 256))
                opened.thumbnail((256, 256))
                return opened.convert("RGB")
        except (OSError, Image.DecompressionBombError):
            pass
    square = Image.new("RGB", (128, 128), (90, 90, 90))
    canvas = ImageDraw.Draw(square)
    for ends in ((32, 32, 96, 96), (96, 32, 32, 96)):
        canvas.line(ends, fill=(220, 60, 60), width=8)
    return square


def job_choices(page: Page, key: str) -> Any:
    """An update with the jobs that the server has, newest first."""
    try:
        with page.server(key) as server:
            jobs = server.get_json("/v1/jobs")["jobs"]
    except ClientError:
        jobs = []
    return gr.update(choices=[(f"{job['task']}, {job['status']}, {job['created'][:19]}", job["id"]) for job in jobs])


def fetch_results(page: Page, key: str, job: str, form: str | None, file: gr.File) -> tuple[Any, str]:
    """The results of the job that is shown, as a file."""
    if not job:
        return gr.skip(), report.advise("Begin a job, or watch one.")
    try:
        with page.server(key) as server:
            reply = server.export(job, form or "jsonl")
    except (ClientError, OSError) as error:
        return gr.skip(), report.show_problem(error)
    return gr.update(value=save(reply, "results", file), visible=True), ""


def same_job(
    address: str, paths: Sequence[str], task: str, parameters: Mapping[str, Any], *, keyed: bool
) -> tuple[str, str]:
    """The command and the Python that begin the same job."""
    names = [Path(path).name for path in paths]
    fields = [("task", task), *([("parameters", json.dumps(parameters))] if parameters else [])]
    curl = snippets.curl(f"{address}/v1/jobs", fields, [("file", name) for name in names], keyed=keyed)
    more = {"parameters": dict(parameters)} if parameters else {}
    python = snippets.python(address, "begin_job", more, positional=[task, names], keyed=keyed)
    return curl, python.replace("print(answer)", "print(answer.wait(progress=True))")
