"""Heads on a pretended CUDA device in half precision, and mistakes made on purpose, which it has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from backbones import captures
from backbones.loading.source import open_backbone
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from diffsight.doctor.replay import CASES, make_runner
from heads.vpd.segmentation_network import mmseg_parts
from service.settings.loader import load_settings
from tests.pretend_device import DEVICE, DeviceTensor, Mismatch, pretended

TASKS = {"depth", "pose", "features"}


@contextmanager
def on_device(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype = torch.bfloat16) -> Iterator[StableDiffusion]:
    """`pocket` on the pretended device, as one that was opened there."""
    mmseg_parts()  # compiles functions as it is imported, which must not see the pretended device
    backbone = open_backbone("pocket", dtype=dtype)
    with pretended(monkeypatch):
        for network in (backbone.vae, backbone.text_encoder, backbone.variants[""].unet):
            network.to(DEVICE)
        backbone.__dict__.pop("description", None)
        yield backbone


def run_all(backbone: StableDiffusion, tasks: set[str]) -> None:
    run = make_runner(load_settings(device="cpu"), backbone)
    for case in CASES:
        if case.task in tasks:
            run(case)


def test_heads_mix_no_devices_and_no_number_types(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_device(monkeypatch) as backbone:
        run_all(backbone, TASKS)


def forward_two_lengths(backbone: StableDiffusion) -> list[Captures]:
    long, short = backbone.embed(["a", "b"])
    rows = [UNetRow(torch.zeros(8, 16, 16), 3, context, Capture(noise_pred=True)) for context in (long, short[:3])]
    return backbone.forward(rows)


def test_rows_from_the_host_run_and_stay_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_device(monkeypatch) as backbone:
        assert all(isinstance(row.noise_pred, DeviceTensor) for row in forward_two_lengths(backbone))


@pytest.mark.parametrize("fault", ["a mask that is left on the CPU", "latents in float32 under half weights"])
def test_a_mistake_that_cuda_refuses_is_noticed(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    masks, stack = captures._length_mask, captures._stack_padded
    with on_device(monkeypatch) as backbone:
        if "mask" in fault:
            monkeypatch.setattr(captures, "_length_mask", lambda lengths, _: masks(lengths, torch.device("cpu")))
        else:
            like = torch.empty(0).to(DEVICE)
            monkeypatch.setattr(captures, "_stack_padded", lambda one, _, at_least=0: stack(one, like, at_least))
        with pytest.raises(Mismatch):
            forward_two_lengths(backbone)


def test_what_cuda_refuses_raises_and_what_it_takes_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended(monkeypatch):
        there, here = torch.ones(2, 2).to(DEVICE), torch.ones(2, 2)
        assert (there + torch.tensor(1.0)).device == DEVICE
        assert (there[torch.tensor([0])] * 2).cpu().tolist() == [[2.0, 2.0]]
        refusals: list[Callable[[], object]] = [
            lambda: there + here,
            lambda: there @ there.half(),
            lambda: torch.randn(2, generator=torch.Generator(), device=DEVICE),
            lambda: here[there.long()],
        ]
        for refused in refusals:
            with pytest.raises(Mismatch):
                refused()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
