"""The settings file: TOML, whose `models` is a list of names, or tables that describe models."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic_settings import TomlConfigSettingsSource

TABLES = "model_tables"
"""The setting of `[[models]]` tables. The list of names to serve is another setting, which may be combined with
them.
"""


class TomlFile(TomlConfigSettingsSource):
    """The file as a source of settings."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return name_tables(super()._read_file(file_path))


def name_tables(content: dict[str, Any]) -> dict[str, Any]:
    """A file's content with `[[models]]` tables under the setting's name; a list of names stays unchanged."""
    models = content.get("models")
    if not isinstance(models, list) or not any(isinstance(table, dict) for table in models):
        return content
    return {name: value for name, value in content.items() if name != "models"} | {TABLES: models}
