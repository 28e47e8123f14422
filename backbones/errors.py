"""Errors below the service, each with a next step. `service/http/problems.py` maps them to HTTP statuses.

DiffsightError
├── InvalidInput        a wrong value: its field, what is wrong with it, what to send instead
├── CheckpointError     a wrong weight file: its missing, unexpected or mis-shaped keys
├── ModelNotFound       a folder, hub id or variant does not exist: which setting to change
├── NotANumber          the result of a row is not finite: only its request fails
├── OutOfMemory         one item alone does not fit into memory: only its request fails
├── Overloaded          the queue is full: when to try again
├── DeadlinePassed      the request's deadline passed while its work waited
└── Cancelled           the client disconnected, or the server is stopping
"""

from __future__ import annotations

from collections.abc import Sequence


class DiffsightError(Exception):
    """Base class of all errors that diffsight raises. `hint` says what to do next, and may be empty."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message = message
        self.hint = hint


class InvalidInput(DiffsightError):
    """The value of `field` cannot be used; `message` names the value and the bound, `hint` what to send instead."""

    def __init__(self, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class CheckpointError(DiffsightError):
    """A weight file does not fit the network it was opened for.

    missing, unexpected: key names. mis_shaped: "key: (file shape) where (network shape) belongs".
    """

    def __init__(
        self,
        source: object,
        message: str,
        *,
        missing: Sequence[str] = (),
        unexpected: Sequence[str] = (),
        mis_shaped: Sequence[str] = (),
        hint: str = "",
    ) -> None:
        lists = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", mis_shaped)]
        text = "; ".join(f"{len(keys)} {what} ({_shorten(keys)})" for what, keys in lists if keys)
        super().__init__(f"{source}: {message}" + (f" [{text}]" if text else ""), hint=hint)
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.mis_shaped = tuple(mis_shaped)


class ModelNotFound(DiffsightError):
    """A model does not exist at its place."""


class NotANumber(DiffsightError):
    """A result holds NaN or infinity."""


class OutOfMemory(DiffsightError):
    """One item alone does not fit into memory, so a smaller batch does not help."""


class Overloaded(DiffsightError):
    """The queue is full. retry_after_seconds: until it is empty, by the measured rate."""

    def __init__(self, message: str, *, retry_after_seconds: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class DeadlinePassed(DiffsightError):
    """The request's deadline passed before its work was done."""


class Cancelled(DiffsightError):
    """The work was dropped: no client waits for it any more."""


def _shorten(keys: Sequence[str], most: int = 8) -> str:
    return ", ".join(keys[:most]) + (f", and {len(keys) - most} more" if len(keys) > most else "")
