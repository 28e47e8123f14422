"""Run frozen networks: without gradients, and with the same results on every processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from backbones.backbone import Backbone

Model = TypeVar("Model", bound=Backbone)
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def frozen(
    method: Callable[Concatenate[Model, Arguments], Returned],
) -> Callable[Concatenate[Model, Arguments], Returned]:
    """Makes a backbone's method run its networks frozen.

    In float16 on a CPU oneDNN is switched off: on processors with AVX512-FP16 it also accumulates in float16, so
    latents differ by several roundings from those of other processors.
    """

    @wraps(method)
    def run(model: Model, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        description = model.description
        half = description.dtype == torch.float16 and description.device.type == "cpu"
        with torch.no_grad(), _without_onednn() if half else nullcontext():
            return method(model, *args, **kwargs)

    return run


def to_batch(tensors: Sequence[Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Tensors of one shape on any device as one batch (B, ...): stacked and cast on the device, not on the host."""
    return torch.stack([tensor.to(device, non_blocking=True) for tensor in tensors]).to(dtype)


@contextmanager
def _without_onednn() -> Iterator[None]:
    # The switch is global: only one thread at a time may change and restore it.
    onednn: Any = torch.backends.mkldnn
    with _without:
        before = onednn.enabled
        onednn.enabled = False
        try:
            yield
        finally:
            onednn.enabled = before


_without = RLock()
