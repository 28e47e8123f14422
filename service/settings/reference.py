"""The table of all settings, for docs/settings.md."""

from __future__ import annotations

import typing
from typing import Any

from service.settings.loader import variables


def settings_table() -> str:
    """Markdown table of all settings, for docs/settings.md."""
    lines = ["| variable | default | bounds | meaning |", "|---|---|---|---|"]
    for name, field in variables():
        default = field.get_default(call_default_factory=True)
        shown = _format_default(default)
        lines.append(f"| `{name}` | {shown} | {_bounds(field)} | {field.description} |")
    return "\n".join(lines)


def _format_default(default: Any) -> str:
    """A default value as text for the table."""
    if default is None:
        return "unset"
    if isinstance(default, tuple):
        return f"`{','.join(map(str, default))}`" if default else "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _bounds(field: Any) -> str:
    """The bounds of a value, as one short phrase."""
    if typing.get_origin(field.annotation) is tuple:
        return "list"
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(f"`{choice}`" for choice in choices)
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    parts = [f"{sign} {getattr(rule, key):,}" for key, sign in signs for rule in field.metadata if hasattr(rule, key)]
    return ", ".join(parts) or {bool: "`true`, `false`", int: "integer"}.get(field.annotation, "text")
