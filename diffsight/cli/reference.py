"""The `--help` of every command as one page, for docs/cli.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from diffsight.cli import app

WIDTH = 78
"""Columns of the text: what click takes of a terminal of 80 or more."""


def walk_commands() -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command by its words after `diffsight`, with its help as a terminal shows it."""
    root = typer.main.get_command(app)
    yield from _walk(root, (), typer.Context(root, info_name="diffsight", **_settings(root)))


def _walk(command: Any, words: tuple[str, ...], context: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    lines = command.get_help(context).splitlines()
    yield words, "\n".join(line.rstrip() for line in lines).strip()
    for name in getattr(command, "list_commands", lambda _: ())(context):
        inner = command.get_command(context, name)
        below = typer.Context(inner, info_name=name, parent=context, **_settings(inner))
        yield from _walk(inner, (*words, name), below)


def _settings(command: Any) -> dict[str, Any]:
    own: dict[str, Any] = command.context_settings
    return {**own, "terminal_width": WIDTH}


def reference() -> str:
    """Markdown: each command with its help."""
    return "\n\n".join(
        f"## `{' '.join(('diffsight', *words))}`\n\n```text\n{text}\n```" for words, text in walk_commands()
    )
