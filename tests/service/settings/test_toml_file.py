"""The settings file: a list of names and a list of tables are different settings."""

from __future__ import annotations

import pytest

from service.settings.toml_file import name_tables


@pytest.mark.parametrize("models", [["a", "b"], [], "a,b"])
def test_names_stay_what_they_are(models: object) -> None:
    assert name_tables({"models": models, "port": 1}) == {"models": models, "port": 1}


def test_tables_are_a_setting_of_their_own() -> None:
    assert name_tables({"models": [{"id": "a"}], "port": 1}) == {"model_tables": [{"id": "a"}], "port": 1}
