"""The committed fixtures replay, and a replay that finds a difference says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conformance.__main__ import REPLAYS, replay_folder
from tests.conformance.checks import Check, compare, exact

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("system", sorted(REPLAYS))
def test_the_committed_fixtures_replay(system: str) -> None:
    checks = list(replay_folder(FIXTURES / system))
    print("\n".join(f"{check.case} {check.quantity} {check.error:.2e} of {check.tolerance:.1e}" for check in checks))
    assert not [check for check in checks if not check.ok]
    assert {check.case for check in checks} >= {file.parent.name for file in (FIXTURES / system).glob("*/info.json")}


@pytest.fixture
def case_folder(tmp_path: Path) -> Path:
    """A folder of one small case that can be spoilt."""
    folder = tmp_path / "diffusion_classifier"
    shutil.copytree(FIXTURES / "diffusion_classifier/single_round", folder / "single_round")
    shutil.copytree(FIXTURES / "diffusion_classifier/weights/sd1", folder / "weights/sd1")
    return folder


def find_failures(folder: Path) -> set[str]:
    return {check.quantity for check in replay_folder(folder) if not check.ok}


def test_an_error_beyond_its_tolerance_fails(case_folder: Path) -> None:
    assert find_failures(case_folder) == set()
    file = case_folder / "single_round/io.safetensors"
    tensors = load_file(file)
    tensors["round0.error"][7] += 1e-3
    save_file(tensors, file)
    assert find_failures(case_folder) == {"round0.error"}


def test_other_weights_fail(case_folder: Path) -> None:
    file = case_folder / "weights/sd1/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"] *= 1.05
    save_file(tensors, file)
    # The weights are cached by folder, and this folder is new.
    assert "round0.error" in find_failures(case_folder)


def test_a_tensor_that_nothing_reads_fails(case_folder: Path) -> None:
    file = case_folder / "single_round/io.safetensors"
    save_file({**load_file(file), "surprise": torch.zeros(1)}, file)
    assert find_failures(case_folder) == {"surprise"}


def test_a_kind_that_is_not_known_fails(case_folder: Path) -> None:
    info = case_folder / "single_round/info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "kind": "surprise"}))
    assert find_failures(case_folder) == {"kind surprise"}


def test_a_system_that_is_not_known_fails(case_folder: Path) -> None:
    info = case_folder / "single_round/info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "system": "surprise"}))
    assert find_failures(case_folder) == {"a replay of this system"}


def test_an_empty_folder_fails(tmp_path: Path) -> None:
    assert [check.ok for check in replay_folder(tmp_path)] == [False]


def test_the_command_exits_with_1_for_what_was_not_checked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.conformance", str(tmp_path)]
    process = subprocess.run(command, cwd=FIXTURES.parents[2], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "not checked" in process.stdout


@pytest.mark.parametrize(
    ("check", "ok"),
    [
        (compare("c", "q", torch.tensor([1.0]), torch.tensor([1.1]), atol=0.2), True),
        (compare("c", "q", torch.tensor([1.0]), torch.tensor([1.1]), atol=0.05), False),
        (compare("c", "q", torch.tensor([10.0]), torch.tensor([10.4]), atol=0.0, rtol=0.05), True),
        (compare("c", "q", torch.tensor([float("nan")]), torch.tensor([float("nan")]), atol=1.0), False),
        (compare("c", "q", torch.zeros(2), torch.zeros(3), atol=1.0), False),
        (exact("c", "q", torch.tensor([1, 2]), torch.tensor([1, 2])), True),
        (exact("c", "q", torch.tensor([1, 2]), torch.tensor([1, 3])), False),
        (exact("c", "q", [1], [1, 2]), False),
    ],
)
def test_a_check_compares_its_values_within_the_bound(check: Check, ok: bool) -> None:
    assert check.ok is ok
