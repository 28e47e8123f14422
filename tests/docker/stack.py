"""The compose files as Docker Compose reads them, as far as the tests need it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOCKER = Path(__file__).parents[2] / "docker"
STACKS = ("compose.yaml", "compose.cpu.yaml")


def read(name: str) -> dict[str, Any]:
    """One YAML file as it stands."""
    content: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return content


def stack(name: str) -> dict[str, Any]:
    """The services of a file with what it includes and extends."""
    content = read(name)
    services: dict[str, Any] = {}
    for included in content.get("include", ()):
        services |= read(included)["services"]
    for service, given in content["services"].items():
        origin = given.pop("extends", None)
        base = read(origin["file"])["services"][origin["service"]] if origin else {}
        services[service] = merged(base, given)
    return services


def merged(base: Any, given: Any) -> Any:
    """`given` over `base`: mappings are merged, lists are appended, the rest is replaced."""
    if isinstance(base, dict) and isinstance(given, dict):
        return {key: merged(base[key], given[key]) if key in base and key in given else {**base, **given}[key]
                for key in {**base, **given}}  # fmt: skip
    if isinstance(base, list) and isinstance(given, list):
        return [*base, *given]
    return given


def interpolated(text: str) -> dict[str, str]:
    """The variables that a compose file takes from .env, with their defaults."""
    found = re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)(?::-([^}]*))?\}", text)
    return dict(found)


def with_defaults(text: str) -> str:
    """A value where .env says nothing."""
    return re.sub(r"(?<!\$)\$\{[A-Z_0-9]+(?::-([^}]*))?\}", r"\1", text)


def example_variables() -> dict[str, str]:
    """The variables of .env.example with the values shown, those that are commented out too."""
    lines = (DOCKER / ".env.example").read_text().splitlines()
    return dict(match.groups() for line in lines if (match := re.fullmatch(r"#?([A-Z][A-Z_0-9]*)=(.*)", line)))  # type: ignore[misc]
