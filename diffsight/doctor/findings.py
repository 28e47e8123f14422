"""The result of a check, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """check: its name. level: "problem" makes the exit status 1. message: the result. hint: what to do."""

    check: str
    level: Level
    message: str
    hint: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return asdict(self)

    def as_text(self) -> str:
        """One line, and a second one with the hint."""
        mark = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}[self.level]
        return f"{mark}{self.check}: {self.message}" + (f"\n        -> {self.hint}" if self.hint else "")


def judge(check: str, error: float, unit: str, *, tolerance: float) -> Finding:
    """Whether an answer is close enough to the recorded one. error: in `unit`, like the tolerance."""
    message = f"largest error {error:.2g} {unit}, tolerance {tolerance:g}"
    if error <= tolerance:
        return Finding(check, "ok", message)
    hint = "try --dtype float32 and --device cpu: where one agrees, the other is at fault"
    return Finding(check, "problem", message, hint)


def has_problem(findings: Iterable[Finding]) -> bool:
    """Whether any finding is a problem."""
    return any(finding.level == "problem" for finding in findings)
