"""The panel of a task: its images, its options, a button, and the answer. It depends on the kind of input, not on the
task.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any
from urllib.parse import quote

import gradio as gr
from PIL import Image

from diffsight_client import Client, ClientError
from playground import drawing, report, snippets
from playground.controls import make_control, make_list_choice, split_prominent
from playground.description import TaskForm
from playground.downloads import save
from playground.options import Option, to_arguments, to_fields
from playground.panels.boxes import box_drawer
from playground.panels.inputs import INPUTS, Chosen, InputControls, NothingChosen
from playground.panels.results import Shown, make_results
from playground.server import Server
from playground.state import Page

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PanelRequest:
    """The request of a panel. arguments: the options as Python values, including those in the path."""

    form: TaskForm
    chosen: Chosen
    fields: Fields
    arguments: dict[str, Any]

    @property
    def route(self) -> str:
        """The route with its parameters filled in. Without a value, the server answers that nothing has this id."""
        values = dict(self.fields)
        return self.form.route.format_map({name: quote(values.get(name, "-"), safe="") for name in self.form.in_path})

    @property
    def options(self) -> dict[str, Any]:
        """The arguments for the body."""
        return {name: value for name, value in self.arguments.items() if name not in self.form.in_path}


def task_panel(page: Page, form: TaskForm, tab: Any) -> None:
    """Build the panel of a task with a supported kind of input. tab: its tab."""
    first, more = split_prominent(form, page.description)
    gr.Markdown(f"**{form.summary}** · `POST {form.route}` · {form.source}")
    with gr.Row():
        with gr.Column(min_width=300):
            inputs = INPUTS[form.inputs](page, form.name)
            controls = [_control(page, option, tab, f"{form.name}-{option.name}") for option in first]
            for option, control in zip(first, controls, strict=True):
                if option.width == 4 and inputs.image is not None:
                    box_drawer(inputs.image, control, form.name)
            with gr.Accordion("Options", open=False, elem_id=f"{form.name}-options"):
                controls += [_control(page, option, tab, f"{form.name}-{option.name}") for option in more]
            with gr.Row():
                button = gr.Button("Run", variant="primary", elem_id=f"{form.name}-run")
                stop = gr.Button("Stop", elem_id=f"{form.name}-stop", visible=form.streams)
        with gr.Column(min_width=300):
            results = make_results(form.name)
            _make_download(page, form, inputs, (*first, *more), controls)
    options, count = (*first, *more), len(inputs.controls)

    def run(request: gr.Request, key: str, *values: Any) -> Iterator[list[Any]]:
        try:
            sent = read_request(form, inputs, options, values[:count], values[count:])
        except NothingChosen as missing:
            yield results.updates(Shown(html=report.advise(str(missing))))
            return
        for shown in answers(page, sent, key, page.address(request)):
            yield results.updates(shown)

    running = button.click(
        run,
        [page.key, *inputs.controls, *controls],
        results.outputs,
        api_visibility="private",
        concurrency_limit=None,
        show_progress="minimal",
        show_progress_on=[results.html],
    )
    stop.click(None, None, None, cancels=[running], api_visibility="private")


def read_request(
    form: TaskForm, inputs: InputControls, options: Sequence[Option], files: Sequence[Any], values: Sequence[Any]
) -> PanelRequest:
    """The values of the controls as a request. Raises NothingChosen."""
    chosen = inputs.read(files)
    fields = to_fields(options, values)
    return PanelRequest(form, chosen, fields, to_arguments(options, fields))


def answers(page: Page, request: PanelRequest, key: str, address: str) -> Iterator[Shown]:
    """The updates that show a request: its answer or problem; if it streams, first each result."""
    curl, python = same_request(request, address, keyed=bool(key))
    shown = Shown(curl=curl, python=python)
    started = time.perf_counter()
    try:
        with page.server(key) as server:
            if request.form.streams:
                for result in server.stream(request.route, request.options, request.chosen.images):
                    yield replace(
                        shown,
                        html=report.show(result) + report.show_cost(result, time.perf_counter() - started),
                        json=report.as_json(result),
                    )
                return
            reply = server.post(request.route, request.options, request.chosen.images)
            result = reply.json()
            html = report.show(result) + report.show_cost(result, reply.seconds)
            yield replace(shown, html=html, picture=picture_of(server, request, result), json=report.as_json(result))
    except (ClientError, OSError) as error:
        yield replace(shown, html=report.show_problem(error))


def picture_of(server: Server, request: PanelRequest, result: dict[str, Any]) -> tuple[Image.Image, Image.Image] | None:
    """The image and the answer over it, of one size; the server's own picture if the page cannot draw the answer.

    Raises ClientError.
    """
    if request.chosen.image is None:
        return None
    try:
        image = drawing.read_image(request.chosen.image.read_bytes())
    except OSError:  # the server reads more image formats than the page
        return None
    drawn = drawing.draw(image, result)
    if drawn is None and request.form.draws:
        reply = server.post(request.route, request.options, request.chosen.images, accept="image/png")
        drawn = Image.open(BytesIO(reply.content)).convert("RGB")
    return None if drawn is None else (image.resize(drawn.size), drawn)


def same_request(request: PanelRequest, address: str, *, keyed: bool) -> tuple[str, str]:
    """The `curl` command and the Python for the same request."""
    form, names = request.form, request.chosen.names
    body = [(name, value) for name, value in request.fields if name not in form.in_path]
    curl = snippets.curl(address + request.route, body, names, keyed=keyed, streams=form.streams)
    several = form.inputs == "images"
    first = [name for field, name in names if field == "image"]
    more: dict[str, Any] = {}
    for field, name in names:
        if field != "image":
            more.setdefault(field, []).append(name)
    # If the client has no method for the task, it is called by its name.
    has_method = hasattr(Client, form.method)
    method, begin = (form.method, []) if has_method else ("run", [form.name])
    python = snippets.python(
        address,
        f"{method}_stream" if form.streams else method,
        more | request.arguments,
        positional=[*begin, *([first] if several else first)],
        keyed=keyed,
        streams=form.streams,
    )
    return curl, python


def _control(page: Page, option: Option, tab: Any, name: str) -> Any:
    kept = page.description.list_of(option)
    if kept is None:
        return make_control(option, name)
    control = make_list_choice(option, name)

    def refresh(key: str) -> Any:
        return page.choices(key, kept)

    tab.select(refresh, page.key, control, api_visibility="private", show_progress="hidden")
    control.focus(refresh, page.key, control, api_visibility="private", show_progress="hidden")
    return control


def _make_download(
    page: Page, form: TaskForm, inputs: InputControls, options: Sequence[Option], controls: list[Any]
) -> None:
    """Build the controls that download the answer as a file, for tasks with formats beside JSON."""
    forms = [name for name in form.formats if name != "json"]
    if not forms:
        return
    with gr.Accordion("The answer as a file", open=False, elem_id=f"{form.name}-file"):
        choice = gr.Radio(forms, value=forms[0], label="Form", elem_id=f"{form.name}-form")
        fetch = gr.Button("Fetch", size="sm", elem_id=f"{form.name}-fetch")
        file = gr.File(label="File", interactive=False, visible=False, elem_id=f"{form.name}-download")
        message = gr.HTML()
    count = len(inputs.controls)

    def download(key: str, chosen_form: str, *values: Any) -> tuple[Any, str]:
        try:
            request = read_request(form, inputs, options, values[:count], values[count:])
            with page.server(key) as server:
                sent = {**request.options, "format": chosen_form}
                reply = server.post(request.route, sent, request.chosen.images, accept="*/*")
        except NothingChosen as missing:
            return gr.skip(), report.advise(str(missing))
        except (ClientError, OSError) as error:
            return gr.skip(), report.show_problem(error)
        return gr.update(value=save(reply, f"{form.name}-{chosen_form}", file), visible=True), ""

    fetch.click(
        download,
        [page.key, choice, *inputs.controls, *controls],
        [file, message],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="minimal",
    )
