"""Sizes before a load, and which models fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.loading.add import add_model
from service.models.catalogue import ModelSpec
from service.models.known import PUBLISHED
from service.models.plan import PlannedModel, count_published_values, plan, plan_entry, plan_published
from service.models.sizes import bytes_of_folder, estimate_bytes
from service.settings.loader import load_settings
from tests.backbones.small_models import WEIGHTS

GB = 10**9
SEVEN = ("sd15", "vpd-depth", "vpd-segmentation", "vpd-referring", "sd21", "sdpose-body", "diffews")


@pytest.mark.parametrize(
    ("kind", "millions"),
    [("sd15", 1066), ("sd21", 1290), ("vpd-depth", 872), ("sdpose-body", 869), ("diffews", 866)],
)
def test_published_models_have_their_published_sizes(kind: str, millions: int) -> None:
    assert count_published_values(kind) / 1e6 == pytest.approx(millions, abs=2)
    assert plan_published(kind).bytes["half"] * 2 == plan_published(kind).bytes["float32"]


def test_all_published_models_can_be_planned() -> None:
    assert all(count_published_values(kind) > 10**8 for kind in PUBLISHED)


def test_all_seven_tasks_fit_24_gb_at_half_precision_and_not_12() -> None:
    models = [plan_published(kind) for kind in SEVEN]
    assert plan(models, 24 * GB).together("half")
    assert not plan(models, 24 * GB).together("float32")
    small = plan(models, 12 * GB)
    assert not small.together("half")
    assert {"sd15", "vpd-depth"} <= set(small.fitting["half"])


def test_an_added_model_is_planned_by_its_headers(tmp_path: Path) -> None:
    entry = add_model(PUBLISHED["sd15"], source=str(WEIGHTS / "sd1"), folder=tmp_path, any_size=True)
    planned = plan_entry(entry)
    expected = estimate_bytes(ModelSpec("sd15", "", "sd15", entry=entry), load_settings())
    assert (planned.backbone, planned.bytes["float32"]) == ("sd15", expected)
    assert planned.bytes["float32"] == 2 * planned.bytes["half"]
    assert bytes_of_folder(entry.weights, torch.float32) == expected


models = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 100)), max_size=8)


@settings(deadline=None, derandomize=True)
@given(models, st.integers(0, 400))
def test_planned_models_stay_in_the_budget_and_have_their_backbones(sizes: list[tuple[int, int]], memory: int) -> None:
    backbones = [PlannedModel(f"b{number}", "", f"b{number}", {"float32": 50, "half": 25}) for number in range(3)]
    tasks = [PlannedModel(f"t{index}", "depth", f"b{of}", {"float32": 2 * size, "half": size})
             for index, (of, size) in enumerate(sizes)]  # fmt: skip
    planned = plan([*backbones, *tasks], memory)
    by_name = {model.name: model for model in planned.models}
    for number_type, names in planned.fitting.items():
        assert sum(by_name[name].bytes[number_type] for name in names) <= planned.budget_bytes
        assert all(by_name[name].backbone in names for name in names)
