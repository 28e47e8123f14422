"""Which number type `auto` takes for which backbone on which device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from service.models.catalogue import ModelSpec
from service.models.number_types import number_type, set_float32_rounding
from service.models.plan import plan, plan_published
from service.models.sizes import estimate_bytes
from service.settings.loader import load_settings
from tests.backbones.small_models import WEIGHTS

SD1 = str(WEIGHTS / "sd1")


@pytest.mark.parametrize(
    ("settings", "device", "source", "tasks", "expected"),
    [
        ({"backbone": SD1}, "cpu", None, [], torch.float32),
        ({"backbone": SD1}, "mps", None, [], torch.float32),
        ({"backbone": SD1}, "cuda:1", None, [], torch.bfloat16),
        ({"backbone": SD1}, "cuda", None, ["depth"], torch.bfloat16),
        ({"backbone": SD1}, "cuda", None, ["pose"], torch.float32),
        ({"backbone": SD1, "pose": {"checkpoint": "fitted"}}, "cuda", SD1, [], torch.float32),
        ({}, "cuda", None, [], torch.float32),  # pocket, for which a pose head ships
        ({"dtype": "float16"}, "cuda", None, ["pose"], torch.float16),
        ({"dtype": "bfloat16"}, "cpu", None, [], torch.bfloat16),
    ],
)
def test_auto_is_half_on_cuda_unless_a_task_needs_more(
    settings: dict[str, Any],
    device: str,
    source: str | None,
    tasks: list[str],
    expected: torch.dtype,
    tmp_path: Path,
) -> None:
    assert number_type(load_settings(models_folder=tmp_path, **settings), device, source, tasks=tasks) == expected


def test_sizes_are_those_of_the_type_that_auto_takes(tmp_path: Path) -> None:
    settings = load_settings(models_folder=tmp_path, backbone=SD1)
    spec = ModelSpec("sd1", "", "sd1", source=SD1)
    assert estimate_bytes(spec, settings) == 2 * estimate_bytes(spec, settings, "cuda")


def test_a_plan_holds_in_full_what_shares_a_backbone_with_keypoints() -> None:
    models = [plan_published(kind) for kind in ("sd15", "vpd-depth", "sd21", "sdpose-body", "diffews")]
    planned = {model.name: model.bytes for model in plan(models, 24 * 10**9).models}
    halves = [name for name, sizes in planned.items() if sizes["auto"] == sizes["half"]]
    assert halves == ["sd15", "vpd-depth"]


def test_float32_is_rounded_alike_in_products_and_convolutions() -> None:
    try:
        set_float32_rounding(load_settings(tf32=True))
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        set_float32_rounding(load_settings())
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
