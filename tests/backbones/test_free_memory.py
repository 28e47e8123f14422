"""Free memory by the kernel and by a container's own limit."""

from __future__ import annotations

from pathlib import Path

import torch

from backbones.free_memory import available_host_bytes, free_bytes


def test_this_machine_reports_free_memory() -> None:
    assert free_bytes(torch.device("cpu")) > 1 << 20


def test_the_tighter_of_the_host_and_the_container_holds(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\n")
    assert available_host_bytes(tmp_path, tmp_path / "nowhere") == 4000 << 10
    for limit, expected in (("max", 4000 << 10), ("1000000", 1_000_000 - 600_000 + 100_000)):
        (tmp_path / "memory.max").write_text(limit + "\n")
        (tmp_path / "memory.current").write_text("600000\n")
        (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100000\n")
        assert available_host_bytes(tmp_path, tmp_path) == expected


def test_a_system_without_figures_counts_as_8_gib(tmp_path: Path) -> None:
    assert available_host_bytes(tmp_path, tmp_path) == 8 << 30
