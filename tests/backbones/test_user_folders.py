"""The folders on Linux are those of the XDG standard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backbones.user_folders import configuration_folder, data_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have folders of their own")


@pytest.mark.parametrize("unset", [True, False])
def test_without_variables_they_are_in_the_home_folder(
    unset: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        if unset:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, "")
    assert data_folder() == tmp_path / ".local/share/diffsight"
    assert configuration_folder() == tmp_path / ".config/diffsight"


def test_the_variables_of_the_standard_are_respected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    assert data_folder() == tmp_path / "data/diffsight"
    assert configuration_folder() == tmp_path / "configuration/diffsight"
