"""What torch gets of the host where it computes on the host's own processor: threads, and memory that stays mapped."""

from __future__ import annotations

import ctypes
import sys

import torch
from torch import nn

from service.settings.loader import Settings

SMALL_NETWORK_PARAMETERS = 50_000_000

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 512 << 20
_LARGEST_ON_HEAP_BYTES = 32 << 20  # as much as glibc takes


def prepare_host(network: nn.Module, settings: Settings) -> None:
    """Set up this process for what `network` will ask of its host."""
    choose_threads(network, settings)
    if next(network.parameters()).device.type == "cpu":
        keep_freed_memory()


def choose_threads(network: nn.Module, settings: Settings) -> None:
    """Tell torch how many threads one of its operations gets."""
    # torch's operations on a small network are too short to be shared out: one thread is faster than two.
    small = sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK_PARAMETERS
    if threads := settings.engine.torch_threads or int(small):
        torch.set_num_threads(threads)


def keep_freed_memory() -> bool:
    """Have the allocator keep half a gigabyte of what torch frees. Returns whether this system's allocator can.

    A batch's maps are megabytes each and die at once. glibc gives them back to the system by default and gets them
    again for the next layer, and every page of them faults anew: a tenth of the time that keypoints of a crop take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    wanted = ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES), (_M_ARENA_MAX, 1))
    return all([mallopt(parameter, value) for parameter, value in wanted])
