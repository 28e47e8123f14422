"""The models and tasks of the server, and how busy it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from diffsight_client import ClientError
from playground import report
from playground.state import Page


def server_panel(page: Page, tab: Any) -> None:
    """Build the panel of the server, which is read again each time its tab is opened."""
    refresh = gr.Button("Look again", size="sm", elem_id="server-refresh")
    shown = gr.HTML(elem_id="server-state")

    def look(key: str) -> str:
        try:
            with page.server(key) as server:
                return show_server(server.get_json("/v1/models"))
        except ClientError as error:
            return report.show_problem(error)

    for event in (tab.select, refresh.click):
        event(look, page.key, shown, api_visibility="private", show_progress="minimal")


def show_server(answer: Mapping[str, Any]) -> str:
    """The answer of /v1/models as tables."""
    engine, backbone = answer["engine"], answer["backbone"]
    models = [
        (
            model["id"],
            model["task"] or "backbone",
            model["state"],
            f"{model['bytes'] / 1e6:,.0f} MB",
            model["users"],
            model["reason"],
        )
        for model in answer["models"]
    ]
    tasks = [(task["task"], task["model"], task["route"], ", ".join(task["formats"])) for task in answer["tasks"]]
    absent = [(task, report.to_markup(reason)) for task, reason in answer.get("not_served", {}).items()]
    busy = [(name.replace("_", " "), value) for name, value in engine.items()]
    about = [(name.replace("_", " "), backbone[name]) for name in ("name", "source", "image_size", "dtype", "device")]
    return (
        report.table(("Model", "For", "State", "Memory", "Users", "Why not"), models, "Models")
        + report.table(("Task", "Model", "Route", "Forms"), tasks, "Tasks")
        + (report.table(("Task", "What brings it"), absent, "Tasks that no model serves") if absent else "")
        + report.table(("Device", "Now"), busy, "How busy the device is")
        + report.table(("Backbone", ""), about, "Default backbone")
    )
