"""How torch uses the host when it computes on the host's own processor: threads, and memory that stays mapped."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

import torch
from torch import nn

from service.settings.loader import Settings

SMALL_NETWORK_PARAMETERS = 50_000_000

_ALL_THREADS = torch.get_num_threads()

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 512 << 20
_LARGEST_ON_HEAP_BYTES = 32 << 20  # the largest value that glibc accepts


def prepare_host(networks: Sequence[nn.Module], settings: Settings) -> None:
    """Set up this process for all networks that it runs: torch's threads and, on the CPU, the allocator."""
    choose_threads(networks, settings)
    if networks and next(networks[0].parameters()).device.type == "cpu":
        keep_freed_memory()


def choose_threads(networks: Sequence[nn.Module], settings: Settings) -> None:
    """Set how many threads one operation of torch uses."""
    # The operations of a small network are too short to be divided: one thread is faster than two.
    small = all(
        sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK_PARAMETERS for network in networks
    )
    torch.set_num_threads(settings.engine.torch_threads or (1 if small else _ALL_THREADS))


def keep_freed_memory() -> bool:
    """Let the allocator keep half a gigabyte of what torch frees. Returns whether this system's allocator can.

    The maps of a batch are megabytes each and live for one layer. By default glibc returns them to the system and
    fetches them again for the next layer, and each page faults anew: a tenth of the time of the keypoints of a crop.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    options = ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _LARGEST_ON_HEAP_BYTES), (_M_ARENA_MAX, 1))
    return all([mallopt(parameter, value) for parameter, value in options])
