"""`diffsight demo`: what it refuses before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbones.errors import InvalidInput
from diffsight.cli import app


@pytest.mark.parametrize("option", [("--images", "9"), ("--images", "361"), ("--fitted-on", "49"), ("--scenes", "0")])
def test_a_number_out_of_bounds_is_refused_by_name(option: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out"), *option], catch_exceptions=False)
    assert caught.value.field == option[0].removeprefix("--")
    assert not (tmp_path / "out").exists()
