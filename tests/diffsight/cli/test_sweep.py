"""`diffsight sweep` on a small folder of classes."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.diffsight.command import diffsight


def test_a_sweep_ends_in_a_picture_and_a_command(digits_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep.png"
    chosen = ["--block", "mid_block", "--block", "up_blocks.1.attentions.1", "--timestep", "20", "--pool-size", "1"]
    done = diffsight("sweep", "features", digits_folder, "--out", out, *chosen)
    assert done.returncode == 0, done.stderr
    assert f"diffsight fit classifier {digits_folder} --block" in done.stdout
    with Image.open(out) as picture:
        assert min(picture.size) > 100
