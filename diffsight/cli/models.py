"""`diffsight models`: what there is to serve."""

from __future__ import annotations

import json
from pathlib import Path

import typer

import backbones.errors
from diffsight.cli.options import AsJson, Backbone, Config
from service.settings import load_settings

POCKET = Path(backbones.errors.__file__).parent / "pocket"


def models(backbone: Backbone = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    \b
    diffsight models

    List the embedded backbone and the one that the settings name. Nothing is loaded.
    """
    settings = load_settings(config, backbone=backbone)
    chosen = settings.backbone
    sources = [("pocket", POCKET), *([(chosen, Path(chosen))] if chosen != "pocket" else [])]
    listed = [
        {"backbone": name, "served": name == chosen, "found": where(folder), "about": card_summary(folder)}
        for name, folder in sources
    ]
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False))
        return
    for one in listed:
        typer.echo(f"{one['backbone']}{'  (what the settings serve)' if one['served'] else ''}\n  {one['found']}")
        if one["about"]:
            typer.echo(f"  {one['about']}")


def where(source: Path) -> str:
    """What is found under a backbone's name."""
    if (source / "model_index.json").is_file():
        return f"diffusers folder {source}"
    if source.is_file():
        return f"checkpoint file {source}"
    if source.exists():
        return f"{source} is there, but is no diffusers folder"
    return "not a file or folder here: taken as a hub id, and downloaded at start-up unless it is in the hub cache"


def card_summary(folder: Path) -> str:
    """The first paragraph of the folder's model card, empty where it has none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n"):
        text = text.partition("---\n")[2].partition("\n---\n")[2]
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return next((part for part in paragraphs if part and not part.startswith(("#", "```", "|", "!["))), "")
