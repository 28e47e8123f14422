"""Heads on a pretended CUDA device in half precision, and deliberate mistakes that it must detect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from backbones import captures
from backbones.engine import DirectEngine, complete
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.loading.source import open_backbone
from backbones.rows import Capture, Captures, UNetRow
from backbones.stable_diffusion import StableDiffusion
from diffsight.doctor.replay import CASES, make_runner
from heads.diffusion_classifier.anytime import Budget
from heads.diffusion_classifier.classify import classify, classify_anytime
from heads.diffusion_classifier.schedule import Schedule
from heads.marigold.depth import RelativeDepthOptions
from heads.marigold.model import Modality, open_marigold
from heads.marigold.sampling import paint_image
from heads.sdpose.head import HeatmapHead
from heads.vpd.segmentation_network import SegmentationNetwork, mmseg_parts
from service.settings.loader import load_settings
from tests.backbones.small_models import WEIGHTS
from tests.heads.marigold.original_files import write_original
from tests.pretend_device import DEVICE, DeviceTensor, Mismatch, pretended

HALF = (torch.bfloat16, torch.float16)
FEW_LABELS = ("a cone", "a chair")
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@contextmanager
def on_device(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, backbone: StableDiffusion | None = None
) -> Iterator[StableDiffusion]:
    """A backbone as if it was opened on the pretended device; `pocket` by default."""
    mmseg_parts()  # compiles functions as it is imported, which must not see the pretended device
    backbone = backbone or open_backbone("pocket", dtype=dtype)
    with pretended(monkeypatch):
        variants = backbone.variants.values()
        networks = [network for variant in variants for network in (variant.unet, *variant.input_convolutions.values())]
        for network in (backbone.vae, backbone.text_encoder, *networks):
            torch.nn.Module.to(network, DEVICE)
        backbone.__dict__.pop("description", None)
        yield backbone


def run_tasks(backbone: StableDiffusion, tasks: Collection[str]) -> None:
    run = make_runner(load_settings(device="cpu"), backbone)
    for case in CASES:
        if case.task in tasks:
            run(case)


# Each head in one half precision here, and in both below, where it takes minutes.
@pytest.mark.parametrize(
    ("dtype", "tasks"),
    [(torch.bfloat16, ("segmentation", "referring", "few-shot")), (torch.float16, ("depth", "pose", "features"))],
)
def test_heads_mix_no_devices_and_no_number_types(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tasks: Collection[str]
) -> None:
    with on_device(monkeypatch, dtype) as backbone:
        run_tasks(backbone, tasks)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("task", [case.task for case in CASES])
def test_every_head_in_every_half_precision(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, task: str) -> None:
    with on_device(monkeypatch, dtype) as backbone:
        run_tasks(backbone, {task})


@pytest.mark.parametrize("dtype", HALF)
def test_zero_shot_and_images_with_texts(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    with on_device(monkeypatch, dtype, load_diffusers_folder(WEIGHTS / "sd2v", dtype=dtype)) as backbone:
        engine = DirectEngine(backbone)
        posterior = complete(classify(engine, IMAGE, FEW_LABELS, schedule=Schedule((1, 2), (2, 1))))
        assert np.isclose(sum(posterior.probabilities), 1.0)
        complete(classify_anytime(engine, IMAGE, FEW_LABELS, budget=Budget(rows=8)))


@pytest.mark.parametrize(("prediction", "dtype"), [("depth", torch.bfloat16), ("normals", torch.float16)])
def test_marigold_paints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prediction: Modality, dtype: torch.dtype
) -> None:
    backbone = load_diffusers_folder(WEIGHTS / "sd2", dtype=dtype)
    config = backbone.variants[""].unet.config
    model = open_marigold(prediction, backbone, write_original(prediction, tmp_path, unet=config))  # type: ignore[arg-type]
    with on_device(monkeypatch, dtype, backbone):
        painted = complete(paint_image(DirectEngine(backbone), model, IMAGE, RelativeDepthOptions(steps=2)))
    assert not isinstance(painted, DeviceTensor)


def in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda network, features: forward(network, features.float())


def from_the_cpu(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda network, features: forward(network, [feature.cpu() for feature in features])


@pytest.mark.parametrize(
    ("task", "network", "spoil"),
    [("pose", HeatmapHead, in_float32), ("segmentation", SegmentationNetwork, from_the_cpu)],
)
def test_a_mistake_in_a_head_is_noticed(
    monkeypatch: pytest.MonkeyPatch, task: str, network: Any, spoil: Callable[[Any], Any]
) -> None:
    with on_device(monkeypatch, torch.bfloat16) as backbone:
        monkeypatch.setattr(network, "forward", spoil(network.forward))
        with pytest.raises(Mismatch):
            run_tasks(backbone, {task})


def forward_two_lengths(backbone: StableDiffusion) -> list[Captures]:
    long, short = backbone.embed(["a", "b"])
    rows = [UNetRow(torch.zeros(8, 16, 16), 3, context, Capture(noise_pred=True)) for context in (long, short[:3])]
    return backbone.forward(rows)


def test_rows_from_the_host_run_and_stay_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_device(monkeypatch, torch.bfloat16) as backbone:
        assert all(isinstance(row.noise_pred, DeviceTensor) for row in forward_two_lengths(backbone))


@pytest.mark.parametrize("fault", ["a mask that is left on the CPU", "latents in float32 under half weights"])
def test_a_mistake_that_cuda_refuses_is_noticed(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    masks, stack = captures._length_mask, captures._stack_padded
    with on_device(monkeypatch, torch.bfloat16) as backbone:
        if "mask" in fault:
            monkeypatch.setattr(captures, "_length_mask", lambda lengths, _: masks(lengths, torch.device("cpu")))
        else:
            like = torch.empty(0).to(DEVICE)
            monkeypatch.setattr(
                captures, "_stack_padded", lambda tensors, _, at_least=0: stack(tensors, like, at_least)
            )
        with pytest.raises(Mismatch):
            forward_two_lengths(backbone)


def test_operations_that_cuda_refuses_raise_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
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
