"""The version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def read_version() -> str:
    """The package's version, or 0.0.0 if it runs without having been installed."""
    try:
        return version("diffsight")
    except PackageNotFoundError:
        return "0.0.0"
