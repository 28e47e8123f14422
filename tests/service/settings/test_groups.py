"""service/settings/groups.py: bounds of values."""

from __future__ import annotations

from typing import Any

import pytest

from backbones.errors import InvalidInput
from service.settings.loader import load_settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 70_000}, "DIFFSIGHT_PORT.*65535, not 70000"),
        ({"dtype": "int8"}, "DIFFSIGHT_DTYPE.*'float32'"),
        ({"device": "gpu"}, "DIFFSIGHT_DEVICE"),
        ({"limits": {"max_labels": 0}}, "DIFFSIGHT_LIMITS__MAX_LABELS"),
        ({"zero_shot_template": "no place"}, "DIFFSIGHT_ZERO_SHOT_TEMPLATE"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_settings(**values)
