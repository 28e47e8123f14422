"""The user's own folders, as the system names them: on Linux below XDG_DATA_HOME and XDG_CONFIG_HOME."""

from __future__ import annotations

from pathlib import Path

import platformdirs

_APPLICATION = "diffsight"


def data_folder() -> Path:
    """The folder of models and of clients' objects: `~/.local/share/diffsight` on Linux."""
    return platformdirs.user_data_path(_APPLICATION, appauthor=False)


def configuration_folder() -> Path:
    """The folder of keys: `~/.config/diffsight` on Linux."""
    return platformdirs.user_config_path(_APPLICATION, appauthor=False)
