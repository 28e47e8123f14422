"""How torch uses the host when it computes on the host's own processor: threads, and memory that stays mapped."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

import torch
from torch import nn

from service.settings.loader import Settings

SMALL_NETWORK_PARAMETERS = 50_000_000

MOST_LANES = 4

_ALL_THREADS = torch.get_num_threads()
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 512 << 20
_LARGEST_ON_HEAP_BYTES = 32 << 20  # the largest value that glibc accepts


def prepare_host(networks: Sequence[nn.Module], settings: Settings) -> None:
    """Set up the calling thread for all networks that it runs: torch's threads and, on the CPU, the allocator."""
    on_cpu = bool(networks) and next(networks[0].parameters()).device.type == "cpu"
    prepare_thread(count_threads(networks, settings), on_cpu=on_cpu)


def prepare_thread(threads: int, *, on_cpu: bool) -> None:
    """Set the number of threads for operations of the calling thread. on_cpu: also set up the allocator."""
    torch.set_num_threads(threads)
    if on_cpu:
        keep_freed_memory()


def count_threads(networks: Sequence[nn.Module], settings: Settings) -> int:
    """How many threads one operation of torch uses."""
    # The operations of a small network are too short to be split: one thread is faster than two.
    small = all(
        sum(parameter.numel() for parameter in network.parameters()) < SMALL_NETWORK_PARAMETERS for network in networks
    )
    return settings.engine.torch_threads or (1 if small else _ALL_THREADS)


def count_lanes(threads: int, settings: Settings, device: str) -> int:
    """How many batches run at a time. threads: of each operation. device: by torch's name.

    On a CPU as many as its cores allow, for each holds activations of its own and all share one interpreter, four at
    most. On a GPU one: batches follow each other in its stream.
    """
    if settings.engine.lanes or not device.startswith("cpu"):
        return settings.engine.lanes or 1
    return max(1, min(MOST_LANES, _CORES // threads))


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
