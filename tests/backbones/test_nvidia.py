"""Driver and GPUs by folders like /dev and /proc, and the message if torch cannot use them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.errors import InvalidInput
from backbones.loading.source import check_device
from backbones.nvidia import Nvidia, look_for_nvidia
from service.models.loading import choose_device

VERSION = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12.2.0\n"
)
OLD = Nvidia(gpus=1, driver="535.104.05", cuda="13.0", usable=0)


def test_device_files_and_the_driver_are_found(tmp_path: Path) -> None:
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/version").write_text(VERSION)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    nvidia = look_for_nvidia(tmp_path, tmp_path, visible="0,1")
    assert (nvidia.gpus, nvidia.driver) == (2, "535.104.05")
    assert look_for_nvidia(tmp_path, tmp_path, visible="-1").gpus == 0
    nothing = look_for_nvidia(tmp_path / "none", tmp_path / "none")
    assert (nothing.gpus, nothing.driver, nothing.problem()) == (0, "", "")


def test_a_driver_that_is_too_old_is_named_and_the_cpu_is_not_taken_in_silence() -> None:
    with pytest.raises(InvalidInput, match=r"driver 535\.104\.05 is too old for CUDA 13\.0.*580 or newer"):
        choose_device("auto", OLD)
    with pytest.raises(InvalidInput, match="580 or newer"):
        check_device("cuda", OLD)


@pytest.mark.parametrize(
    ("nvidia", "words"),
    [
        (Nvidia(0, "", "", 0), "install a CUDA build of torch"),
        (Nvidia(1, "580.65", "", 0), "install a CUDA build of torch"),
        (Nvidia(0, "580.65", "13.0", 0), "--gpus"),
        (Nvidia(1, "580.65", "13.0", 0), "nvidia-smi"),
    ],
)
def test_cuda_without_a_usable_gpu_says_what_is_missing(nvidia: Nvidia, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_device("cuda", nvidia)


def test_auto_takes_the_gpu_that_torch_can_use_and_else_the_cpu() -> None:
    assert choose_device("auto", Nvidia(1, "580.65", "13.0", 1)) == "cuda"
    assert choose_device("auto", Nvidia(0, "", "13.0", 0)) == "cpu"
    assert choose_device("auto", Nvidia(1, "535.1", "", 0)) == "cpu"  # torch was installed for CPUs, on purpose
    assert choose_device("cpu", OLD) == "cpu"
    assert check_device("cuda:1", Nvidia(2, "580.65", "13.0", 2)) == torch.device("cuda", 1)
