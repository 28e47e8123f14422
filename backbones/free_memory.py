"""How much memory is free on a device now."""

from __future__ import annotations

from pathlib import Path

import torch

_UNKNOWN = 8 << 30


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on a device; on a CPU what the system, and this process's control group, leave."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    return available_host_bytes()


def available_host_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take of the host's memory. proc, groups: where the kernel tells."""
    available = _UNKNOWN
    information = proc / "meminfo"
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) << 10
    try:
        # A container's own limit stands at the root that it sees.
        limit = (groups / "memory.max").read_text().strip()
        if limit != "max":
            used = int((groups / "memory.current").read_text()) - _reclaimable(groups)
            available = min(available, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return available


def _reclaimable(groups: Path) -> int:
    """Bytes of files in memory that the kernel gives back when they are needed."""
    for line in (groups / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0
