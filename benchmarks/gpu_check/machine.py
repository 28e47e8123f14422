"""The machine, and the ceilings that the rest is compared with: matrix products and copies of device memory."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from backbones.nvidia import look_for_nvidia
from benchmarks.gpu_check.setup import Setup

TYPES = (torch.bfloat16, torch.float16, torch.float32)


def measure(setup: Setup) -> dict[str, Any]:
    """Names and versions, TFLOP/s of a large product in each number type, and TB/s of a copy."""
    nvidia = look_for_nvidia()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if setup.on_cuda else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda or "",
        "driver": nvidia.driver,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "networks": "small" if setup.small else "of the published sizes",
    }
    if setup.on_cuda:
        figures["memory_gigabytes"] = torch.cuda.get_device_properties(0).total_memory / 1e9
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for dtype in TYPES if not tf32 else (torch.float32,):
            name = "TF32" if tf32 else str(dtype).removeprefix("torch.")
            if not tf32 or setup.on_cuda:
                figures[f"{name}: TFLOP a second"] = product_teraflops(setup, dtype)
    torch.backends.cuda.matmul.allow_tf32 = False
    figures["copy: TB a second"] = _copy_terabytes(setup)
    return figures


def product_teraflops(setup: Setup, dtype: torch.dtype) -> float:
    """TFLOP a second of a square product, the ceiling of what networks reach."""
    side = 128 if setup.small else 8192
    a, b = (torch.randn(side, side, device=setup.device, dtype=dtype) for _ in range(2))
    return setup.rate(lambda: a @ b, 1) * 2 * side**3 / 1e12


def _copy_terabytes(setup: Setup) -> float:
    source = torch.zeros(1 << 16 if setup.small else 1 << 30, device=setup.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return setup.rate(lambda: target.copy_(source), 1) * 2 * source.nbytes / 1e12
