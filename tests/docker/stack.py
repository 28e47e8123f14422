"""The compose files as Docker Compose reads them, for what the tests use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
STACKS = ("compose.yaml", "compose.cpu.yaml")


def read(name: str) -> dict[str, Any]:
    """One YAML file as it is."""
    content: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return content


def stack(name: str) -> dict[str, Any]:
    """The services of a file with what it includes and extends."""
    content = read(name)
    services: dict[str, Any] = {}
    for included in content.get("include", ()):
        services |= read(included)["services"]
    for service, definition in content["services"].items():
        origin = definition.pop("extends", None)
        base = read(origin["file"])["services"][origin["service"]] if origin else {}
        services[service] = merge(base, definition)
    return services


def merge(base: Any, changes: Any) -> Any:
    """`changes` over `base`: mappings are merged, lists are appended, the rest is replaced."""
    if isinstance(base, dict) and isinstance(changes, dict):
        return {key: merge(base[key], changes[key]) if key in base and key in changes else {**base, **changes}[key]
                for key in {**base, **changes}}  # fmt: skip
    if isinstance(base, list) and isinstance(changes, list):
        return [*base, *changes]
    return changes


def find_variables(text: str) -> dict[str, str]:
    """The variables that a compose file takes from .env, with their defaults."""
    pairs = re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)(?::-([^}]*))?\}", text)
    return dict(pairs)


def with_defaults(text: str) -> str:
    """A value without an entry in .env."""
    return re.sub(r"(?<!\$)\$\{[A-Z_0-9]+(?::-([^}]*))?\}", r"\1", text)


def example_variables() -> dict[str, str]:
    """The variables of .env.example with the values shown, those that are commented out too."""
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(match.groups() for line in lines if (match := re.fullmatch(r"#?([A-Z][A-Z_0-9]*)=(.*)", line)))  # type: ignore[misc]
