"""service/settings/reference.py: the table of all settings."""

from __future__ import annotations

from service.settings.loader import variables
from service.settings.reference import settings_table


def test_every_setting_says_what_it_means() -> None:
    for name, field in variables():
        assert field.description, name
        assert f"`{name}`" in settings_table()
