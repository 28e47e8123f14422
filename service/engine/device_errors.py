"""Errors after which a CUDA device refuses all further work of this process."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from backbones.errors import Cancelled

# Errors after which, by CUDA's documentation, "any further CUDA work will return the same error".
_STICKY = re.compile(
    r"device-side assert|illegal memory access|illegal instruction|misaligned address|unspecified launch failure|"
    r"hardware stack error|invalid program counter|operation not supported on global/shared address space|"
    r"launch timed out|uncorrectable|context is destroyed|nvlink|tensor memory",
    re.IGNORECASE,
)
_OF_CUDA = re.compile(r"CUDA error|CUDNN_STATUS|CUBLAS_STATUS")


class DeviceLost(BaseException):
    """The device fails every further call of this process. No `Exception`: halving a batch would only repeat it."""


def is_lost(error: BaseException, probe: Callable[[], object] | None = None) -> bool:
    """Whether an error means that this process can no longer use the device.

    probe: called after an error of CUDA that may pass: if it raises too, the device is lost. By default it waits for
    the device, if this process has used one.
    """
    if not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError):
        return False
    message = str(error)
    if not _OF_CUDA.search(message):
        return False
    if _STICKY.search(message):
        return True
    try:
        (probe or _wait_for_device)()
    except RuntimeError:
        return True
    return False


def stop_if_lost(function: Callable[[Sequence[Any]], list[Any]]) -> Callable[[Sequence[Any]], list[Any]]:
    """`function` of a batch's items, which raises DeviceLost instead of errors that last."""

    def run(items: Sequence[Any]) -> list[Any]:
        try:
            return function(items)
        except Exception as error:
            if is_lost(error):
                raise DeviceLost(f"the device fails every further call: {error}") from error
            raise

    return run


def answer_to(error: BaseException) -> Exception:
    """The error that answers a batch's calls. An exception that ends a thread must not reach the event loop."""
    if isinstance(error, DeviceLost):
        return make_stopped_error()
    return error if isinstance(error, Exception) else RuntimeError(f"the device's worker failed: {error!r}")


def make_stopped_error() -> Cancelled:
    """The answer to every call after the worker has stopped."""
    return Cancelled(
        "the device's worker has stopped", hint="the server's operator must restart it; its log has the reason"
    )


def _wait_for_device() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
