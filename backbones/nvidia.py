"""The NVIDIA driver of this machine, and why torch cannot use an existing GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

# The oldest driver for Linux that runs programs of a major version of CUDA, by NVIDIA's release notes of the toolkit.
OLDEST_DRIVERS: Mapping[int, int] = {11: 450, 12: 525, 13: 580}
_HIDDEN = ("", "-1", "NoDevFiles")


@dataclass(frozen=True, slots=True)
class Nvidia:
    """The NVIDIA devices of this process.

    gpus: device files, also of GPUs that torch cannot use. driver: its version, "" if it is not known. cuda: the
    version that torch was built for, "" for a build without CUDA. usable: GPUs that torch sees.
    """

    gpus: int
    driver: str
    cuda: str
    usable: int

    @property
    def oldest_driver(self) -> int:
        """The first number of the oldest driver that runs torch's CUDA; 0 if that is not known."""
        return OLDEST_DRIVERS.get(int(self.cuda.split(".")[0]), 0) if self.cuda else 0

    def problem(self) -> str:
        """Why torch, built for CUDA, uses no GPU although there is one; empty if nothing is wrong."""
        if self.usable or not self.gpus or not self.cuda:
            return ""
        here = f"{self.gpus} NVIDIA GPU{'s are' if self.gpus > 1 else ' is'} here, and torch can use none"
        if self.driver_too_old():
            return f"{here}: the driver {self.driver} is too old for CUDA {self.cuda}"
        return f"{here} with CUDA {self.cuda} and the driver {self.driver or 'of unknown version'}"

    def driver_too_old(self) -> bool:
        """Whether the driver is known to be older than torch's CUDA needs."""
        return bool(self.driver) and int(self.driver.split(".")[0]) < self.oldest_driver

    def hint(self) -> str:
        """The hint if torch sees fewer GPUs than named."""
        if not self.cuda:
            return "install a CUDA build of torch, or use the device `cpu`"
        if self.problem():
            wanted = f"{self.oldest_driver} or newer" if self.oldest_driver else "a newer one"
            return (
                f"install NVIDIA's driver {wanted}, or a torch for an older CUDA; `nvidia-smi` shows the driver. "
                "The device `cpu` computes without the GPU"
            )
        if not self.gpus:
            return "install NVIDIA's driver, in a container give it the GPU (`--gpus`), or use the device `cpu`"
        return f"name a device below cuda:{self.usable}" if self.usable else "use the device `cpu`"


def look_for_nvidia(dev: Path = Path("/dev"), proc: Path = Path("/proc"), visible: str | None = None) -> Nvidia:
    """The NVIDIA devices of this process. Device files count: a container without a GPU still sees the host's driver.

    dev, proc: where device files and the driver's version are read. visible: as CUDA_VISIBLE_DEVICES, which is read if
    it is None; hidden GPUs do not count.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
    hidden = visible is not None and visible.strip() in _HIDDEN
    gpus = 0 if hidden else sum(1 for file in dev.glob("nvidia*") if file.name.removeprefix("nvidia").isdigit())
    try:
        version = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", (proc / "driver/nvidia/version").read_text(errors="replace"))
    except OSError:
        version = None
    return Nvidia(gpus, version[1] if version else "", torch.version.cuda or "", torch.cuda.device_count())
