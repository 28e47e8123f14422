"""What a replay of a conformance folder reports: a check for each stored quantity, with its tolerance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of ours with the original's.

    case: folder name of the case. quantity: tensor or value compared.
    error: largest absolute difference, or the number of mismatches for exact quantities; infinite where not comparable.
    tolerance: the bound at the place of the largest violation. rule: the bound in words.
    """

    case: str
    quantity: str
    error: float
    tolerance: float
    ok: bool
    rule: str = ""


def compare(case: str, quantity: str, actual: Tensor, expected: Tensor, atol: float, rtol: float = 0.0) -> Check:
    """|actual - expected| <= atol + rtol |expected| everywhere; fails for other shapes, for NaN and for infinities.

    actual, expected: any one shape, any number types; compared in float64.
    """
    rule = f"atol {atol:g}" + (f" + rtol {rtol:g}" if rtol else "")
    refused = _incomparable(case, quantity, actual, expected)
    if refused is not None:
        return refused
    ours, theirs = actual.detach().cpu().double(), expected.detach().cpu().double()
    if not (ours.isfinite().all() and theirs.isfinite().all()):
        return Check(case, quantity, float("inf"), atol, False, "not finite")
    if not ours.numel():
        return Check(case, quantity, 0.0, atol, True, rule)
    error = (ours - theirs).abs()
    bound = atol + rtol * theirs.abs()
    worst = int((error - bound).argmax())
    return Check(case, quantity, float(error.max()), float(bound.flatten()[worst]), bool((error <= bound).all()), rule)


def exact(case: str, quantity: str, actual: object, expected: object) -> Check:
    """Equality: of tensors element by element (same shape and number type), of anything else by `==`.

    actual, expected: tensors of any shape, or plain values.
    """
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        refused = _incomparable(case, quantity, actual, expected)
        if refused is not None:
            return refused
        if actual.dtype != expected.dtype:
            return Check(case, quantity, float("inf"), 0.0, False, f"{actual.dtype} where {expected.dtype} belongs")
        # NaN differs from itself here, as it must.
        mismatches = int((actual.detach().cpu() != expected.detach().cpu()).sum())
        return Check(case, quantity, float(mismatches), 0.0, mismatches == 0, "equal")
    same = bool(actual == expected)
    return Check(case, quantity, 0.0 if same else 1.0, 0.0, same, "equal")


def fail_unchecked(case: str, what: str) -> Check:
    """A failing check for stored data, or for a case, that no replay compares."""
    return Check(case, what, float("inf"), 0.0, False, "not checked")


def read_json(file: Path) -> Any:
    """The parsed content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, in their stored shapes and number types."""
    return dict(load_file(file))


class TrackedTensors(Mapping[str, Tensor]):
    """Tensors of a file that record which names were read, so that a replay cannot overlook a tensor."""

    def __init__(self, file: Path) -> None:
        self._tensors = read_tensors(file)
        self._unread = set(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        self._unread.discard(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def fail_unread(self, case: str) -> Iterator[Check]:
        """A failed check for each tensor whose name was never read."""
        for name in sorted(self._unread):
            yield fail_unchecked(case, name)


def _incomparable(case: str, quantity: str, actual: Tensor, expected: Tensor) -> Check | None:
    if actual.shape == expected.shape:
        return None
    rule = f"shape {tuple(actual.shape)} where {tuple(expected.shape)} belongs"
    return Check(case, quantity, float("inf"), 0.0, False, rule)
