"""The demonstration runs as a user runs it, on few images."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = str(Path(sys.executable).with_name("diffsight"))


@pytest.mark.slow
def test_the_demo_asks_every_route_and_ends_with_its_accuracy(tmp_path: Path) -> None:
    command = [SCRIPT, "demo", "--images", "10", "--fitted-on", "50", "--out", str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for route in ("/health/live", "/health/ready", "/v1/models", "/v1/classify/zero-shot", "/v1/features", "/metrics"):
        assert route in output
    accuracy = re.fullmatch(r"zero-shot accuracy: (\S+)", output.strip().splitlines()[-2])
    assert "/playground" in output.strip().splitlines()[-1]
    assert accuracy is not None
    assert float(accuracy[1]) > 0.85
    for picture in ("zero_shot.png", "confusion.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 100
    assert len(list((tmp_path / "images").iterdir())) == 10


def test_the_demo_refuses_numbers_that_it_cannot_serve(tmp_path: Path) -> None:
    command = [SCRIPT, "demo", "--images", "1000", "--out", str(tmp_path)]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "10 to 360" in refused.stderr
