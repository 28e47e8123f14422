"""The shipped answers of the originals are those of the fixtures; ours agree, and a difference is a problem."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.loading.weight_files import read_tensors, write_tensors
from diffsight.doctor import originals
from diffsight.doctor.originals import FOLDER, HEADS, ORIGINALS, check_originals, relative_error
from tests.conformance.shorten import shorten_tensors

CPU = torch.device("cpu")


def test_the_shipped_answers_are_part_of_the_fixtures_and_take_at_most_two_megabytes() -> None:
    shipped, whole = read_tensors(HEADS), shorten_tensors()
    assert shipped.keys() == whole.keys()
    assert all(torch.equal(shipped[name], tensor) for name, tensor in whole.items())
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2_000_000


def test_ours_agree_and_an_answer_that_differs_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = read_tensors(HEADS)
    stored["sdpose/mode.scores"] += 0.1
    write_tensors(stored, tmp_path / "heads.safetensors")
    monkeypatch.setattr(originals, "HEADS", tmp_path / "heads.safetensors")
    findings = {finding.check.removeprefix("original of "): finding for finding in check_originals(CPU, torch.float32)}
    assert {name: finding.level for name, finding in findings.items()} == {
        original.name: "problem" if original.name == "sdpose" else "ok" for original in ORIGINALS
    }
    assert "of the scores, tolerance 0.001" in findings["sdpose"].message
    assert findings["sdpose"].hint


@pytest.mark.slow
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_ours_agree_in_half_precision(kind: torch.dtype) -> None:
    assert [finding.message for finding in check_originals(CPU, kind) if finding.level != "ok"] == []


def test_a_damaged_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "HEADS", tmp_path / "none.safetensors")
    (finding,) = check_originals(CPU, torch.float32)
    assert finding.level == "problem"
    assert "install the package again" in finding.hint


def test_errors_are_relative_or_a_share_of_pixels() -> None:
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_error(torch.tensor([1, 0], dtype=torch.uint8), torch.tensor([1, 1], dtype=torch.uint8)) == 0.5
    assert relative_error(torch.tensor([float("nan")]), torch.ones(1)) == float("inf")
    assert relative_error(torch.ones(2), torch.ones(1)) == float("inf")
