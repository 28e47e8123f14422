"""The progress of an upload, a job or a download: a bar, or a function of the caller."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TextIO

_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Step:
    """A step of progress.

    done, total: bytes, of `wait` images; total is None while it is unknown. text: short further text.
    """

    stage: Literal["upload", "wait", "download"]
    done: int
    total: int | None
    text: str = ""


OnProgress = Callable[[Step], None]


def reporter(progress: bool | OnProgress) -> OnProgress:
    """The function that gets the steps: a bar for True, none for False, else the caller's function."""
    if callable(progress):
        return progress
    return ProgressBar() if progress else _ignore


def _ignore(step: Step) -> None:
    pass


@dataclass(slots=True)
class ProgressBar:
    """On a terminal, writes one line again and again; elsewhere, a line for each tenth part."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    _last: tuple[str, int] = ("", -1)

    def __call__(self, step: Step) -> None:
        """Show a step."""
        share = 0.0 if not step.total else min(step.done / step.total, 1.0)
        ended = step.total is not None and step.done >= step.total
        if self.stream.isatty():
            bar = ("#" * int(share * _WIDTH)).ljust(_WIDTH, ".")
            self.stream.write(f"\r{step.stage:8} [{bar}] {_counts(step)} {step.text}\x1b[K" + ("\n" if ended else ""))
        elif (step.stage, int(share * 10)) != self._last:
            self._last = (step.stage, int(share * 10))
            self.stream.write(f"{step.stage} {_counts(step)} {step.text}".rstrip() + "\n")
        self.stream.flush()


def _counts(step: Step) -> str:
    if step.stage == "wait":
        return f"{step.done:,} of {step.total:,} images" if step.total is not None else f"{step.done:,} images"
    of = f" of {step.total / 1e6:,.1f}" if step.total is not None else ""
    return f"{step.done / 1e6:,.1f}{of} MB"
