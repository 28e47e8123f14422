"""How much memory is free on a device now."""

from __future__ import annotations

from pathlib import Path

import torch

_UNKNOWN = 8 << 30


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on a device; on a CPU within the limits of the system and of this process's control
    group.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    return available_host_bytes()


def available_host_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of host memory that this process may still allocate. proc, groups: where the kernel reports them."""
    available = _UNKNOWN
    information = proc / "meminfo"
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) << 10
    try:
        # A container sees its own limit at the root.
        limit = (groups / "memory.max").read_text().strip()
        if limit != "max":
            used = int((groups / "memory.current").read_text()) - _reclaimable(groups)
            available = min(available, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return available


def _reclaimable(groups: Path) -> int:
    """Bytes of cached files that the kernel frees when memory is needed."""
    for line in (groups / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
