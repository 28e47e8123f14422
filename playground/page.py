"""The page, built from the server's description."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from playground.description import ServerDescription, TaskForm
from playground.panels.classifiers import classifier_panel
from playground.panels.inputs import INPUTS
from playground.panels.jobs import job_panel
from playground.panels.models import server_panel
from playground.panels.task import task_panel
from playground.state import Page

CSS = Path(__file__).with_name("page.css")

# Fonts of the reader's own system, because a theme's default font is downloaded from another host.
THEME = gr.themes.Default(
    primary_hue=gr.themes.colors.blue,
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
).set(
    # Grey enough to be unobtrusive, and dark enough to be read (4.5 to 1).
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_label_text_color="*neutral_600",
    block_label_text_color_dark="*neutral_200",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
)
# Uploads and drawn pictures are kept in a folder of temporary files for one to two hours.
_KEPT_SECONDS = 3600
_SWITCH = "() => { document.body.classList.toggle('dark') }"


def build_page(description: ServerDescription, url: str, *, public: bool) -> gr.Blocks:
    """The page for a server. url: where the page itself reaches it. public: whether readers reach it there too."""
    with gr.Blocks(
        title="diffsight playground",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_KEPT_SECONDS, _KEPT_SECONDS),
    ) as blocks:
        with gr.Row():
            gr.Markdown(f"# diffsight playground\nA client of `/v1` of diffsight {description.version}.")
            dark = gr.Button("Dark or light", size="sm", scale=0, min_width=130, elem_id="dark")
        dark.click(None, None, None, js=_SWITCH, api_visibility="private")
        with gr.Accordion("API key", open=False, elem_id="access"):
            key = gr.Textbox(
                label="API key",
                type="password",
                info="For servers with keys. It stays in this page, is sent with each request, and is stored nowhere.",
                elem_id="api-key",
            )
        page = Page(url, public, description, key)
        with gr.Tabs():
            for form in description.tasks:
                with gr.Tab(tab_name(form.name), id=form.name, render_children=True) as tab:
                    _panel(page, form, tab)
            if description.fit:
                with gr.Tab("Fit a classifier", id="fit", render_children=True):
                    classifier_panel(page)
            with gr.Tab("Jobs", id="jobs", render_children=True) as tab:
                job_panel(page, tab)
            with gr.Tab("Server", id="server", render_children=True) as tab:
                server_panel(page, tab)
    built: gr.Blocks = blocks
    return built


def tab_name(task: str) -> str:
    """A task's name to show."""
    return task.replace("-", " ").capitalize()


def _panel(page: Page, form: TaskForm, tab: gr.Tab) -> None:
    if form.inputs in INPUTS:
        task_panel(page, form, tab)
    else:
        gr.Markdown(
            f"This page knows no controls for inputs of the kind `{form.inputs}`. `POST {form.route}` takes them."
        )
