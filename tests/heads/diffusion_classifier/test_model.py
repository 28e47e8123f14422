"""The backbone as the zero-shot tasks use it: which temperature holds, which budget, how many labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backbones.engine import DirectEngine
from backbones.errors import InvalidInput
from heads.diffusion_classifier.calibration import ScoringMethod
from heads.diffusion_classifier.model import check_label_counts, open_zero_shot

WAY = ScoringMethod(scheme="schedule", schedule="default")


def test_the_requests_own_temperature_goes_before_the_servers(engine: DirectEngine) -> None:
    model = open_zero_shot(engine.model, temperature=3.0)
    assert model.choose_temperature(WAY, None) == (3.0, False)
    assert model.choose_temperature(WAY, 0.5) == (0.5, False)


def test_a_race_ends_at_the_rows_of_one_request(engine: DirectEngine) -> None:
    model = open_zero_shot(engine.model, max_rows=100)
    assert [model.limit_budget(budget).rows for budget in (None, 40, "400 rows", "2 s")] == [100, 40, 100, 100]
    assert open_zero_shot(engine.model).limit_budget(None).rows is None


@pytest.mark.parametrize(("labels", "templates", "field"), [(5, 1, "labels"), (4, 3, "templates")])
def test_more_labels_or_prompts_than_the_limits_are_refused(labels: int, templates: int, field: str) -> None:
    limits = SimpleNamespace(max_labels=4, max_prompts=8, max_tree_labels=9, max_shots=1, max_rows_per_request=10)
    assert check_label_counts(["x"] * 4, ["{}"] * 2, limits) == 8
    with pytest.raises(InvalidInput) as caught:
        check_label_counts(["x"] * labels, ["{}"] * templates, limits)
    assert caught.value.field == field
