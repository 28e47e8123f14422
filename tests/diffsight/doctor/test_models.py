"""Added models are hashed again, and what does not fit into memory together is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.loading.add import add_model
from diffsight.doctor.models import check_models
from service.models.known import PUBLISHED
from service.settings.loader import load_settings
from tests.backbones.small_models import WEIGHTS

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add_model(PUBLISHED["sd15"], source=str(WEIGHTS / "sd1"), folder=tmp_path, any_size=True)
    return tmp_path


def test_a_model_that_is_whole_is_verified_and_fits(folder: Path) -> None:
    findings = list(check_models(load_settings(models_folder=folder), CPU))
    assert [(finding.check, finding.level) for finding in findings] == [("model sd15", "ok"), ("memory", "ok")]


def test_a_damaged_file_is_a_problem_that_names_the_model(folder: Path) -> None:
    file = next(folder.glob("sd15/**/unet/*.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    finding = next(iter(check_models(load_settings(models_folder=folder), CPU)))
    assert (finding.check, finding.level) == ("model sd15", "problem")
    assert "diffsight models remove sd15" in finding.hint


def test_models_that_do_not_fit_together_are_a_warning(folder: Path) -> None:
    settings = load_settings(models_folder=folder, engine={"memory_bytes": 1000})
    assert list(check_models(settings, CPU))[-1].level == "warning"
