"""The wheel holds the tracked files, and all places name the same version."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("backbones", "heads", "service", "training", "diffsight", "playground")


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built through the source distribution from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    subprocess.run(["git", "-C", str(ROOT), "checkout-index", "-a", f"--prefix={source}/"], check=True)
    # Files that git would track on the next commit count too.
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_tracked_file_of_the_packages(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", *PACKAGES], check=True, capture_output=True, text=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as opened:
        built = {name for name in opened.namelist() if name.split("/")[0] in PACKAGES}
    assert built == set(listed)


def test_the_changelog_has_the_version() -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version()


def test_the_command_prints_its_version() -> None:
    script = Path(sys.executable).with_name("diffsight")
    output = subprocess.run([str(script), "--version"], check=True, capture_output=True, text=True).stdout
    assert version() in output


def test_no_torch_wheel_with_cuda_is_pinned() -> None:
    pinned = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"^(torch|torchvision|triton|nvidia[\w-]*)==", pinned, re.MULTILINE)
