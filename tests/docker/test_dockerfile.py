"""The text of the Dockerfile. `make image-check` builds the image and checks it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings.loader import variables
from tests.docker.stack import DOCKER, read

ROOT = DOCKER.parent
TEXT = (DOCKER / "Dockerfile").read_text()
# One line an instruction, without comments.
LINES = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
INSTRUCTIONS = [line for line in LINES if line.strip()]
STARTS = [number for number, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")]
FINAL = INSTRUCTIONS[STARTS[-1] :]
PACKAGE_TOOLS = r"\b(gcc|g\+\+|clang|build-essential|[a-z0-9]+-dev|cmake|nvcc)\b"


def find_instructions(instruction: str, lines: list[str]) -> list[str]:
    return [line.removeprefix(f"{instruction} ") for line in lines if line.startswith(f"{instruction} ")]


def test_every_stage_starts_from_the_base_argument() -> None:
    assert len(STARTS) > 1
    assert all(INSTRUCTIONS[number].startswith("FROM ${BASE}") for number in STARTS)


def test_the_base_is_pinned_by_version() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)", TEXT, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", base)
    assert ":latest" not in TEXT


def test_the_final_stage_runs_as_a_numbered_user_who_is_not_root() -> None:
    assert find_instructions("USER", FINAL) == ["10001:10001"]
    user = FINAL.index("USER 10001:10001")
    assert not [line for line in FINAL[user:] if line.startswith(("RUN", "COPY", "ADD"))]


def test_no_stage_installs_a_compiler() -> None:
    assert not re.search(PACKAGE_TOOLS, "\n".join(INSTRUCTIONS))
    assert not re.search(PACKAGE_TOOLS, (DOCKER / "system-packages.sh").read_text())


def test_the_final_stage_holds_the_wheel_and_no_source() -> None:
    assert find_instructions("COPY", FINAL) == ["--from=packages /venv /venv"]
    (install,) = [line for line in FINAL if "pip install" in line]
    assert "--no-index" in install
    assert ".whl" in install
    assert not re.search(r"pip install.* (-e|--editable)\b", TEXT)


def test_it_says_how_it_is_run() -> None:
    assert find_instructions("STOPSIGNAL", FINAL) == ["SIGTERM"]
    assert find_instructions("EXPOSE", FINAL) == ["8000"]
    assert find_instructions("ENTRYPOINT", FINAL) == ['["diffsight"]']
    assert find_instructions("CMD", FINAL) == ['["serve"]']
    (health,) = find_instructions("HEALTHCHECK", FINAL)
    assert "/health/ready" in health


def test_there_are_no_heredocs() -> None:
    assert "<<" not in TEXT


def test_written_files_go_to_tmp_or_to_the_volume() -> None:
    (environment,) = find_instructions("ENV", FINAL)
    places = dict(pair.split("=", 1) for pair in environment.split())
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        assert places[name].startswith("/tmp"), name
    for name in ("HF_HOME", "DIFFSIGHT_CACHE_FOLDER"):
        assert places[name].startswith("/models"), name


def test_its_settings_exist() -> None:
    settings = {name for name, _ in variables()}
    assert set(re.findall(r"\bDIFFSIGHT_[A-Z_]+", TEXT)) <= settings


def test_one_version_of_torch_everywhere() -> None:
    makefile = re.findall(r"^TORCH_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    cpu = read("compose.cpu.yaml")["services"]["diffsight"]["build"]["args"]["TORCH"]
    versions = {*makefile, *re.findall(r"torch==([0-9.]+[0-9])", f"{TEXT} {cpu}")}
    assert len(versions) == 1


def test_the_context_holds_every_package_and_little_else() -> None:
    allowed = set(re.findall(r"^!(\S+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE))
    packages = {"backbones", "heads", "service", "training", "diffsight", "playground", "clients/python"}
    files = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "docker/system-packages.sh"}
    assert allowed == packages | files
    assert all((ROOT / name).exists() for name in allowed)


@pytest.mark.parametrize("script", sorted(DOCKER.rglob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the wheels bring their own libraries")
def test_system_packages_are_brought_once() -> None:
    # This environment imports OpenCV, so the libraries are there and nothing is installed.
    script = str(DOCKER / "system-packages.sh")
    done = subprocess.run(["sh", script, sys.executable], check=True, capture_output=True, text=True)
    assert done.stdout == done.stderr == ""
