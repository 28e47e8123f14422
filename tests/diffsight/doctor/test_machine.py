"""The doctor's findings on the machine: none if all is well, and the next step for each problem."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backbones.nvidia import Nvidia
from diffsight.doctor.findings import Finding, has_problem
from diffsight.doctor.machine import check_machine, find_rights
from service.settings.loader import load_settings

NO_GPU = Nvidia(gpus=0, driver="", cuda="", usable=0)
OLD_DRIVER = Nvidia(gpus=1, driver="535.104.05", cuda="13.0", usable=0)


def problems(
    folder: Path, nvidia: Nvidia = NO_GPU, free: int = 10**12, now: float | None = None, **changes: Any
) -> list[Finding]:
    settings = load_settings(**{"data_folder": folder, "models_folder": folder / "models", **changes})
    findings = list(check_machine(settings, nvidia=nvidia, free=lambda _: free, now=now))
    assert {"device", "exposure", "clock"} <= {finding.check for finding in findings}
    return [finding for finding in findings if finding.level == "problem"]


def test_a_machine_that_is_well_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, device="cpu") == []


def test_a_driver_that_is_too_old_is_a_problem_with_auto_too(tmp_path: Path) -> None:
    (finding,) = problems(tmp_path, OLD_DRIVER)
    assert "535.104.05 is too old for CUDA 13.0" in finding.message
    assert "580 or newer" in finding.hint
    assert "->" in finding.as_text()


def test_a_full_disk_is_a_problem_of_each_folder_on_it(tmp_path: Path) -> None:
    findings = problems(tmp_path, free=10**6)
    assert [finding.check for finding in findings] == ["disk of the data folder", "disk of the models folder"]


def test_a_server_that_is_open_without_keys_is_a_problem(tmp_path: Path) -> None:
    keys = {"keys_file": tmp_path / "none.json"}
    (finding,) = problems(tmp_path, host="0.0.0.0", access=keys)
    assert "no API key" in finding.message
    (finding,) = problems(tmp_path, host="0.0.0.0", access={**keys, "allow_anonymous": True})
    assert "open to other machines" in finding.message
    assert not problems(tmp_path, access={**keys, "allow_anonymous": True})


def test_a_clock_that_is_years_behind_is_a_problem(tmp_path: Path) -> None:
    (finding,) = problems(tmp_path, now=0.0)
    assert (finding.check, finding.level) == ("clock", "problem")


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    place = Path("/proc") if os.getuid() == 0 else folder  # the superuser may write everywhere but there
    finding = find_rights("data folder", place)
    assert has_problem([finding])
    assert "set another folder" in finding.hint


@pytest.mark.parametrize("level", ["ok", "warning"])
def test_only_problems_make_the_exit_status(level: str) -> None:
    assert not has_problem([Finding("a", level, "b")])  # type: ignore[arg-type]
