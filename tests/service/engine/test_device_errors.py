"""A device that fails every further call: every request is answered, the worker ends, and a real server exits."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from backbones.errors import Cancelled
from backbones.rows import UNetRow
from backbones.stable_diffusion import StableDiffusion
from service.engine.device_errors import is_lost
from service.engine.worker import DeviceWorker
from tests.service.engine.hand_driven import FaultyBackbone, make_rows, run_rows

ASSERT = "CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."
# torch 2.8 has a type of its own for these.
AcceleratorError: type[RuntimeError] = getattr(torch, "AcceleratorError", RuntimeError)


def fail() -> None:
    raise RuntimeError("CUDA error: unknown error")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (AcceleratorError(ASSERT), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (RuntimeError("CUDA error: invalid configuration argument"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (torch.OutOfMemoryError("CUDA out of memory."), False),
        (RuntimeError("an illegal memory access, in words of somebody else"), False),
        (ValueError(ASSERT), False),
    ],
)
def test_lasting_errors_are_distinguished_from_those_of_one_call(error: Exception, lost: bool) -> None:
    assert is_lost(error, probe=lambda: None) is lost


def test_an_unknown_error_of_cuda_is_one_that_lasts_if_the_device_fails_again() -> None:
    assert is_lost(RuntimeError("CUDA error: unknown error"), probe=fail)
    assert not is_lost(RuntimeError("CUDA error: unknown error"))


def test_a_lost_device_answers_every_request_after_one_call_and_ends_the_worker(
    small_backbone: StableDiffusion,
) -> None:
    def fault(rows: Sequence[UNetRow]) -> None:
        raise AcceleratorError(ASSERT)

    async def ask() -> list[Any]:
        work = [run_rows(worker.session("task"), make_rows(small_backbone, 8)) for _ in range(4)]
        return await asyncio.gather(*work, return_exceptions=True)

    model = FaultyBackbone(small_backbone, fault)
    worker = DeviceWorker(model, max_batch_rows=16)
    stopped = threading.Event()
    worker.on_stopped = lambda error: stopped.set()
    worker.start()
    try:
        assert all(isinstance(answer, Cancelled) for answer in asyncio.run(ask()))
        assert len(model.batch_sizes) == 1
        stopped.wait()
        assert not worker.alive
        assert all(isinstance(answer, Cancelled) for answer in asyncio.run(ask()))
    finally:
        worker.stop()


SERVER = """
import sys, torch
import service.models.slots as slots
from diffsight.cli.serve import listen, run
from service.settings.loader import load_settings

opened, calls = slots.open_served, []

def open_with_fault(*arguments, **options):
    def fault(*_):
        calls.append(1)
        if len(calls) > 1:  # the first is the warm-up's
            raise getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: device-side assert triggered")
    backbone = opened(*arguments, **options)
    backbone.variants[""].unet.register_forward_pre_hook(fault)
    return backbone

slots.open_served = open_with_fault
settings = load_settings(device="cpu", backbone="pocket", port=int(sys.argv[1]), engine={"torch_threads": 1})
failure = run(settings, listen(settings), f"http://127.0.0.1:{sys.argv[1]}")
sys.exit(0 if failure is None else 1)
"""


@pytest.mark.slow
def test_a_server_whose_device_is_lost_answers_503_and_exits_with_an_error(png: bytes, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:  # the test's own timeout ends this
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                if httpx2.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.2)
        answer = httpx2.post(f"{url}/v1/depth", files={"image": png}, timeout=60)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert process.wait(120) == 1
    finally:
        process.kill()
        process.wait()
