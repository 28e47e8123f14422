"""Every task has a recorded answer, heads agree with it, and a difference is a problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backbones.loading.weight_files import read_tensors, write_tensors
from diffsight.doctor import replay
from diffsight.doctor.replay import CASES, RECORD, check_answers
from service.settings.loader import load_settings
from service.tasks import TASKS

CPU = torch.device("cpu")
QUICK = tuple(case for case in CASES if case.task in ("depth", "pose", "features"))
WITHOUT_RECORD = {"depth-relative", "normals", "classifier"}
"""Tasks without shipped weights, and one that needs an object of a caller."""


def test_every_task_has_a_recorded_answer_in_a_small_file() -> None:
    assert {case.task for case in CASES} == {task.name for task in TASKS} - WITHOUT_RECORD
    assert read_tensors(RECORD).keys() == {case.task for case in CASES}
    assert RECORD.stat().st_size < 200_000


def test_heads_agree_with_the_record_and_one_that_does_not_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = read_tensors(RECORD)
    recorded["pose"][0, 3, 1] += 0.5
    write_tensors(recorded, tmp_path / "answers.safetensors")
    monkeypatch.setattr(replay, "RECORD", tmp_path / "answers.safetensors")
    monkeypatch.setattr(replay, "CASES", QUICK)
    findings = {answer.check: answer for answer in check_answers(load_settings(device="cpu"), CPU, torch.float32)}
    assert {check: finding.level for check, finding in findings.items()} == {
        "answer of depth": "ok",
        "answer of pose": "problem",
        "answer of features": "ok",
    }
    assert "0.5 pixels, tolerance 0.01" in findings["answer of pose"].message


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_all_heads_agree_with_the_record(kind: torch.dtype) -> None:
    findings = list(check_answers(load_settings(device="cpu"), CPU, kind))
    assert [finding.message for finding in findings if finding.level != "ok"] == []
    assert len(findings) == len(CASES)


def test_a_damaged_record_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "RECORD", tmp_path / "none.safetensors")
    (finding,) = check_answers(load_settings(device="cpu"), CPU, torch.float32)
    assert finding.level == "problem"
    assert "install the package again" in finding.hint


def test_errors_are_by_each_measure() -> None:
    a, b = np.array([1.0, 2.0]), np.array([1.0, 2.5])
    assert replay.largest(a, b) == 0.5
    assert replay.largest_share(a, b) == 0.2
    assert replay.share_of_others(a, b) == 0.5
    assert replay.beyond_union(np.array([[1, 0]]), np.array([[1, 1]])) == 0.5
    assert replay.beyond_union(np.zeros((1, 2)), np.zeros((1, 2))) == 0.0
    assert replay.beyond_cosine(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])) == 1.0
