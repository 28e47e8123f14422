"""The replay of the stored cases, and that it reports damaged ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conformance.feature_pooling import replay

FIXTURES = Path(__file__).parents[2] / "conformance/fixtures/feature_pooling"


def test_every_stored_case_is_reproduced() -> None:
    checks = list(replay(FIXTURES))
    assert {check.case for check in checks} == {path.stem for path in FIXTURES.iterdir()}
    assert [check for check in checks if not check.ok] == []


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A copy of one small case in a folder of its own."""
    return Path(shutil.copytree(FIXTURES / "head_linear", tmp_path / "head_linear"))


def failures(case: Path) -> list[str]:
    return [check.quantity for check in replay(case.parent) if not check.ok]


def test_a_changed_result_fails(case: Path) -> None:
    tensors = load_file(case / "io.safetensors")
    tensors["logits"][0, 0] += 0.01
    save_file(tensors, case / "io.safetensors")
    assert failures(case) == ["logits"]


def test_a_tensor_that_is_never_compared_fails(case: Path) -> None:
    tensors = load_file(case / "io.safetensors")
    save_file({**tensors, "extra": torch.zeros(1)}, case / "io.safetensors")
    assert failures(case) == ["stored tensors", "extra"]


def test_an_unknown_kind_fails(case: Path) -> None:
    info = json.loads((case / "info.json").read_text())
    (case / "info.json").write_text(json.dumps({**info, "kind": "head_convolutional"}))
    assert failures(case) == ["a case of kind 'head_convolutional'"]


def test_a_case_that_breaks_fails_and_does_not_stop_the_others(case: Path) -> None:
    shutil.copytree(case, case.parent / "z_whole")
    (case / "weights.safetensors").unlink()
    messages = failures(case)
    assert len(messages) == 1
    assert messages[0].startswith("failed:")


def test_an_unknown_manifest_fails(case: Path) -> None:
    (case.parent / "keys_other.json").write_text("{}")
    assert failures(case) == ["a manifest that no replay knows"]
