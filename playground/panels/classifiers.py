"""The panel for a reader's own classifier: a folder of images for each class, the fit on the server, the confusion
matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from diffsight_client import ClientError
from playground import report, snippets
from playground.controls import make_control
from playground.options import to_arguments, to_fields
from playground.panels.results import Results, Shown, make_results
from playground.state import Page

ROUTE = "/v1/classifiers"
FOLDERS = 2
_MOST_SHOWN = 12
"""Number of images that the shown commands of a fit name."""
_FILLED = ("name", "labels", "job", "model", "head_options")
"""Options without a control in this panel."""


def classifier_panel(page: Page) -> None:
    """Build the panel that fits a classifier."""
    gr.Markdown(f"**Fit a classifier to your own images** · `POST {ROUTE}` · then use it under *Classifier*.")
    options = [option for option in page.description.fit if option.name not in _FILLED]
    folders, names = [], []
    with gr.Row():
        with gr.Column(min_width=300):
            title = gr.Textbox(label="Name of the classifier", placeholder="pets", elem_id="fit-name")
            for number in range(1, FOLDERS + 1):
                folder = gr.File(
                    file_count="directory",
                    label=f"Folder of class {number}",
                    height=170,
                    elem_id=f"fit-folder-{number}",
                )
                name = gr.Textbox(label=f"Class {number}", placeholder=f"class {number}", elem_id=f"fit-class-{number}")
                folders.append(folder)
                names.append(name)
            archive = gr.File(
                file_types=[".zip"], label="Or a zip with a folder for each class", height=170,
                elem_id="fit-zip",
            )  # fmt: skip
            with gr.Accordion("Options", open=False):
                controls = [make_control(option, f"fit-{option.name}") for option in options]
            button = gr.Button("Fit", variant="primary", elem_id="fit-run")
        with gr.Column(min_width=300):
            results = make_results("fit")

    def fit(request: gr.Request, key: str, title: str, archive: str | None, *values: Any) -> list[Any]:
        files, labels = read_folders(values[:FOLDERS], values[FOLDERS : 2 * FOLDERS])
        images = [*files, *([archive] if archive else [])]
        fields = to_fields(options, values[2 * FOLDERS :])
        sent = to_arguments(options, fields) | {"name": title or "", **({"labels": labels} if labels else {})}
        return _fit(page, key, page.address(request), results, images, sent)

    button.click(
        fit,
        [page.key, title, archive, *folders, *names, *controls],
        results.outputs,
        api_visibility="private",
        concurrency_limit=None,
        show_progress="minimal",
        show_progress_on=[results.html],
    )


def _fit(
    page: Page, key: str, address: str, results: Results, images: Sequence[str], sent: dict[str, Any]
) -> list[Any]:
    if not images:
        return results.updates(Shown(html=report.advise("Drop a folder of images for each class, or a zip.")))
    curl, python = same_fit(address, images, sent, keyed=bool(key))
    try:
        with page.server(key) as server:
            reply = server.post(ROUTE, sent, [("images", Path(path)) for path in images])
    except (ClientError, OSError) as error:
        return results.updates(Shown(html=report.show_problem(error), curl=curl, python=python))
    answer = reply.json()
    html = show_classifier(answer) + report.show_cost(answer, reply.seconds)
    return results.updates(Shown(html, None, report.as_json(answer), curl, python))


def read_folders(folders: Sequence[Sequence[str] | None], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """All files of the folders, and the class name of each as its label. Browsers do not send the names of folders."""
    files: list[str] = []
    labels: list[str] = []
    for number, (paths, name) in enumerate(zip(folders, names, strict=True), 1):
        chosen = [path for path in paths or () if not Path(path).name.startswith(".")]
        files += chosen
        labels += [name.strip() or f"class {number}"] * len(chosen)
    return files, labels


def same_fit(address: str, images: Sequence[str], sent: Mapping[str, Any], *, keyed: bool) -> tuple[str, str]:
    """The `curl` command and the Python for the same request; of many images they show a few of each class."""
    step = max(1, math.ceil(len(images) / _MOST_SHOWN))
    few = [Path(path).name for path in images[::step]]
    labels = list(sent.get("labels", ()))[::step]
    rest = {name: value for name, value in sent.items() if name != "labels" and value not in ("", None)}
    fields = [("labels", label) for label in labels] + [(name, snippets.text(value)) for name, value in rest.items()]
    curl = snippets.curl(address + ROUTE, fields, [("image", name) for name in few], keyed=keyed)
    more = len(images) - len(few)
    if more > 0:
        curl = f"# and {more} more images{', each with its label' if labels else ''}\n{curl}"
    arguments = {**({"labels": labels} if labels else {}), **rest}
    python = snippets.python(address, "fit_classifier", {"images": few, **arguments}, keyed=keyed)
    return curl, python if more <= 0 else f"# and {more} more images\n{python}"


def show_classifier(answer: Mapping[str, Any]) -> str:
    """The result of a fit: accuracy, recall of each class, and which classes are confused."""
    labels = [part["label"] for part in answer["classes"]]
    figures = [
        (name, f"{answer[field]:.1%}")
        for name, field in (("Accuracy", "accuracy"), ("Balanced accuracy", "balanced_accuracy"))
        if answer.get(field) is not None
    ]
    kept = f"“{answer['name']}”" if answer.get("name") else "without a name"
    about = report.note(f"Fitted and kept as {answer['id']}, {kept}: choose it under Classifier.")
    return (
        about
        + (report.table(("Cross-validated", ""), figures) if figures else "")
        + report.confusion(labels, answer.get("confusion") or [])
        + report.table(
            ("Class", "Images", "Recall"),
            [
                (part["label"], part["images"], "–" if part["recall"] is None else part["recall"])
                for part in answer["classes"]
            ],
            "Classes",
        )
    )
