"""Runs a batch so that an item that goes wrong fails no other: halving, out of memory, results that are not finite."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from traceback import clear_frames
from typing import Any

import torch
from torch import Tensor

from backbones.backbone import Backbone
from backbones.errors import NotANumber, OutOfMemory
from backbones.rows import Captures
from service.engine.caches import TensorCache, own_memory
from service.engine.queue import Call, Kind

# CUDA's libraries, the host's allocator and the driver raise plain errors when memory runs out.
_NO_MEMORY = re.compile(r"STATUS_ALLOC_FAILED|can't allocate memory|out of memory", re.IGNORECASE)


def choose_function(
    call: Call,
    backbone: Backbone,
    contexts: TensorCache,
    wait: Callable[[torch.device], None] | None = None,
) -> Callable[[Sequence[Any]], list[Any]]:
    """The function that runs a batch of this call's kind.

    contexts: of texts, by the backbone's revision. wait: returns when the device has finished its work, or raises the
    work's error; by default `wait_for_device`. Without it errors and seconds of a batch would count for the next batch
    that reads a result.
    """
    wait = wait or wait_for_device

    def wait_after(function: Callable[[Sequence[Any]], Sequence[Any]]) -> Callable[[Sequence[Any]], list[Any]]:
        def run(items: Sequence[Any]) -> list[Any]:
            results = list(function(items))
            wait(backbone.description.device)
            return results

        return run

    functions: dict[Kind, Callable[[Sequence[Any]], list[Any]]] = {
        "unet": lambda rows: replace_not_finite(backbone.forward(rows)),
        # Copies for the cache are made here, because tensor operations must not block the event loop.
        "encode": wait_after(lambda images: [own_memory(latents) for latents in backbone.encode(images)]),
        "embed": wait_after(partial(_embed_each_text_once, backbone, contexts)),
        "decode": wait_after(backbone.decode),
        "run": lambda calls: [call() for call in calls],
        "apply": wait_after(lambda inputs: call.network(inputs)),
    }
    return functions[call.kind]


def wait_for_device(device: torch.device) -> None:
    """Wait until this thread's stream of a CUDA device is empty. Raises the errors of its kernels."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def _embed_each_text_once(backbone: Backbone, kept: TensorCache, texts: Sequence[str]) -> list[Tensor]:
    """Contexts of a batch, (T, D) each. Several requests may wait for one text, or an earlier batch embedded it."""
    revision = backbone.description.revision
    cached = {text: kept.get((revision, text), counted=False) for text in texts}
    contexts = {text: context for text, context in cached.items() if context is not None}
    missing = [text for text in cached if text not in contexts]
    if missing:
        contexts.update(zip(missing, backbone.embed(missing), strict=True))
        for text in missing:
            kept.put((revision, text), contexts[text])
    return [contexts[text] for text in texts]


def run_isolated(
    function: Callable[[Sequence[Any]], list[Any]], items: Sequence[Any], on_out_of_memory: Callable[[int], None]
) -> list[Any]:
    """Results in order, with an exception in the place of each item that fails by itself.

    A batch that fails is halved until the failing item is alone. on_out_of_memory: called with the size of each batch
    that did not fit into the device's memory.
    """
    try:
        return function(items)
    except Exception as error:
        failure: Exception = error
        if is_out_of_memory(error):
            failure = OutOfMemory(
                "this request alone does not fit into the device's memory",
                hint="send a smaller image or fewer rows, or try again when the server is less busy",
            )
            # The traceback references the tensors of the batch, whose memory could not be freed.
            clear_frames(error.__traceback__)
            torch.cuda.empty_cache()
            on_out_of_memory(len(items))
        if len(items) == 1:
            return [failure]
    half = len(items) // 2
    halves = (items[:half], items[half:])
    return [outcome for part in halves for outcome in run_isolated(function, part, on_out_of_memory)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, whichever library raised it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def replace_not_finite(results: Sequence[Captures]) -> list[Captures | NotANumber]:
    """`results` with an error in the place of each row that holds NaN or infinity; one read of the device for all.

    The rows of a batch are views of the same tensors. A finite sum has only finite addends, so one sum checks a whole
    batch; rows are checked one by one only if it is not finite.
    """
    tensors = [tensor for captures in results for tensor in list_tensors(captures)]
    if not tensors:
        return list(results)
    whole = {id(base): base for base in (tensor if tensor._base is None else tensor._base for tensor in tensors)}
    sums = torch.stack([base.sum(dtype=torch.float32) for base in whole.values()])
    if bool(sums.isfinite().all()):
        return list(results)
    rows = [[tensor.isfinite().all() for tensor in list_tensors(captures)] for captures in results]
    healthy = torch.stack([torch.stack(own).all() if own else torch.tensor(True).to(sums.device) for own in rows])
    error = NotANumber("the U-Net's result holds NaN or infinity", hint="try dtype=float32, or check the weights")
    return [captures if good else error for captures, good in zip(results, healthy.tolist(), strict=True)]


def list_tensors(captures: Captures) -> list[Tensor]:
    """All tensors of a row's captures, of any shapes."""
    own = [tensor for tensor in (captures.output, captures.noise_pred) if tensor is not None]
    banks = [tensor for pair in captures.keys_values.values() for tensor in (pair.keys, pair.values)]
    return [*own, *captures.features.values(), *captures.attention_maps.values(), *banks]
