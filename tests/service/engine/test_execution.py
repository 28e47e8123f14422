"""A batch with an error: which requests fail, what is freed, what counts as out of memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from backbones.errors import NotANumber, OutOfMemory
from backbones.rows import Captures, KeysValues
from backbones.stable_diffusion import StableDiffusion
from service.engine.caches import TensorCache
from service.engine.execution import choose_function, is_out_of_memory, replace_not_finite, run_isolated
from service.engine.queue import Call, Kind


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_every_library_that_runs_out_of_memory_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    sizes: list[int] = []

    def fail(items: Sequence[int]) -> list[int]:
        if len(items) > 2:
            raise error
        return list(items)

    assert run_isolated(fail, list(range(8)), sizes.append) == list(range(8))
    assert sizes == [8, 4, 4]


def test_other_errors_are_not_taken_for_memory() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_tensors_of_a_failed_batch_are_free_before_its_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(held[-1]() is not None))

    def fail(items: Sequence[int]) -> list[int]:
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("no memory")

    gc.disable()
    try:
        (outcome,) = run_isolated(fail, [0], lambda size: None)
    finally:
        gc.enable()
    assert isinstance(outcome, OutOfMemory)
    assert alive == [False]


def test_only_rows_that_hold_no_numbers_are_replaced() -> None:
    outputs, maps = torch.ones(4, 2, 3, 3), torch.ones(4, 5, 3, 3)
    outputs[1, 0, 0, 0], maps[2, 1, 1, 1] = float("inf"), float("nan")
    rows = [
        Captures(output=output, attention_maps={"a": own})
        for output, own in zip(outputs.unbind(), maps.unbind(), strict=True)
    ]
    results = replace_not_finite(rows)
    assert [isinstance(result, NotANumber) for result in results] == [False, True, True, False]


def test_numbers_whose_sum_is_too_large_are_numbers() -> None:
    huge = Captures(keys_values={"a": KeysValues(torch.full((4, 4), 3e38), torch.ones(4, 4))})
    assert replace_not_finite([huge]) == [huge]
    nothing = Captures()
    assert replace_not_finite([nothing]) == [nothing]


def double(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [2 * tensor for tensor in inputs]


@pytest.mark.parametrize("kind", ["encode", "embed", "decode", "apply"])
def test_an_error_of_a_kernel_is_that_of_the_batch_that_started_it(small_backbone: StableDiffusion, kind: Kind) -> None:
    channels = 3 if kind == "encode" else small_backbone.description.latent_channels
    item = "a text" if kind == "embed" else torch.zeros(channels, 16, 16)
    call = Call(kind, [item], lambda answer: None, network=double)
    contexts = TensorCache(1 << 20)
    waited: list[torch.device] = []
    assert len(choose_function(call, small_backbone, contexts, waited.append)([item])) == 1
    assert waited == [torch.device("cpu")]

    def late(device: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        choose_function(call, small_backbone, contexts, late)([item])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_that_a_gpu_does_not_hold_is_halved() -> None:
    def fill(items: Sequence[int]) -> list[int]:
        if len(items) > 1:
            torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
        return list(items)

    sizes: list[int] = []
    assert run_isolated(fill, [1, 2, 3, 4], sizes.append) == [1, 2, 3, 4]
    assert sizes == [4, 2, 2]
