"""U-Net rows a second of both backbones by batch, beside plain diffusers at the same batch, and what they take.

ours: rows that differ in timestep and prompt, through the backbone's own pass. eager, compiled: the diffusers U-Net on
batches that lie ready. engine: 32 clients of the device's worker, a row each time.
"""

from __future__ import annotations

from typing import Any

import torch

from backbones.stable_diffusion import StableDiffusion
from benchmarks._full_networks import Kind, build_backbone, build_unet
from benchmarks._meta_cost import counting
from benchmarks.gpu_check.machine import product_teraflops
from benchmarks.gpu_check.setup import Setup
from benchmarks.rows import make_rows, stack_batches, under_clients
from service.engine.worker import DeviceWorker

KINDS: tuple[Kind, ...] = ("sd15", "sd21")


def measure(setup: Setup) -> dict[str, Any]:
    """Figures by backbone and batch; why nothing was compiled, if so."""
    ceiling = product_teraflops(setup, setup.dtype)
    figures: dict[str, Any] = {"ceiling, TFLOP a second": ceiling}
    for kind in KINDS:
        backbone = build_backbone(kind, setup.dtype, setup.device, setup.sizes)
        teraflops = row_teraflops(kind, setup)
        for batch in setup.batches:
            own = measure_batch(setup, backbone, batch)
            own["share of the ceiling"] = own["ours"] * teraflops / ceiling
            figures |= {f"{kind}, {batch} rows: {name}": value for name, value in own.items()}
        figures[f"{kind}: engine"] = _engine_rate(setup, backbone)
        figures |= {
            f"{kind}, {setup.batches[1]} rows: {name}": value for name, value in _measure_compiled(setup, backbone)
        }
        figures[f"{kind}: TFLOP a row"] = teraflops
        del backbone
        torch.cuda.empty_cache()
    return figures


def row_teraflops(kind: Kind, setup: Setup) -> float:
    """Arithmetic of one row, counted on the meta device."""
    unet: Any = build_unet(kind, setup.dtype, "meta", setup.sizes)
    config = unet.config
    latents = torch.empty(1, 4, config.sample_size, config.sample_size, device="meta", dtype=setup.dtype)
    context = torch.empty(1, 77, config.cross_attention_dim, device="meta", dtype=setup.dtype)
    with counting() as cost:
        unet(latents, torch.zeros(1, device="meta", dtype=torch.int64), context)
    return cost.flops / 1e12


def measure_batch(setup: Setup, backbone: StableDiffusion, batch: int) -> dict[str, float]:
    """Rows a second of ours and of plain diffusers at one size, and the memory of ours."""
    rows = make_rows(backbone, batch)
    ((latents, timesteps, contexts),) = stack_batches(rows, batch)
    unet: Any = backbone.variants[""].unet

    def plain() -> None:
        with torch.no_grad():
            unet(latents, timesteps, contexts, return_dict=False)

    eager = setup.rate(plain, batch)
    ours = setup.rate(lambda: backbone.forward(rows), batch)
    figures = {"ours": ours, "eager": eager, "ours over eager": ours / eager}
    gigabytes = setup.peak_gigabytes(lambda: backbone.forward(rows))
    return figures if gigabytes is None else {**figures, "GB": gigabytes}


def _engine_rate(setup: Setup, backbone: StableDiffusion) -> float:
    rows = make_rows(backbone, 16 if setup.small else 1024)
    worker = DeviceWorker(backbone, max_batch_rows=32)
    worker.start()
    try:
        under_clients(worker, rows[: len(rows) // 4], lambda: 1)
        return under_clients(worker, rows, lambda: 1)
    finally:
        worker.stop()


def _measure_compiled(setup: Setup, backbone: StableDiffusion) -> list[tuple[str, float | str]]:
    """Rows a second of the compiled U-Net at the second batch size; in place of it why it can not be compiled here."""
    if not setup.on_cuda:
        return [("compiled", "not tried: this is no GPU")]
    batch = setup.batches[1]
    ((latents, timesteps, contexts),) = stack_batches(make_rows(backbone, batch), batch)
    unet: Any = torch.compile(backbone.variants[""].unet)

    def call() -> None:
        with torch.no_grad():
            unet(latents, timesteps, contexts, return_dict=False)

    try:
        rate = setup.rate(call, batch)
    except Exception as error:  # no compiler, or a version that does not know this network
        return [("compiled", f"not possible: {type(error).__name__}: {str(error)[:200]}")]
    return [("compiled", rate)]
