"""Configurations of checkpoints. What is wrong in them is told with the file's name, whatever a library makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backbones.errors import CheckpointError, DiffsightError

_HINT = "download or copy it again"


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError if the file is missing, or holds something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(file, f"it is no JSON ({error})", hint=_HINT) from error
    if not isinstance(content, dict):
        raise CheckpointError(file, "it holds no JSON object", hint=_HINT)
    return content


@contextmanager
def blaming(source: object, message: str = "", *, hint: str = _HINT) -> Iterator[None]:
    """Raises CheckpointError for any error of a library that reads or builds what a file or folder holds.

    Libraries raise errors of all kinds for content that they did not expect. source: what is told to be wrong.
    message: before the error's own words. MemoryError is raised as it is.
    """
    try:
        yield
    except (DiffsightError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(source, f"{message} ({reason})" if message else reason, hint=hint) from error
