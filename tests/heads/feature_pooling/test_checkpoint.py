"""Files of trained heads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backbones.errors import CheckpointError, ModelNotFound
from heads.feature_pooling.checkpoint import load_weights, read_head_file
from heads.feature_pooling.classifier_heads import AttentionHead, PooledHead


def test_a_file_of_the_training_code_is_read(tmp_path: Path) -> None:
    head, file = PooledHead(4, 2, 3), tmp_path / "latest.pth"
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7)
    torch.save(
        {
            "model_head": head.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": schedule.state_dict(),
            "epoch": 7,
        },
        file,
    )
    content = read_head_file(file)
    fresh = PooledHead(4, 2, 3)
    load_weights(fresh, content.head, file)
    assert torch.equal(fresh.get_parameter("fcs.0.weight"), head.get_parameter("fcs.0.weight"))
    assert not content.feedback


def test_wrong_keys_and_shapes_are_listed() -> None:
    state = PooledHead(4, 2, 3).state_dict()
    state["fcs.7.weight"] = state.pop("fcs.0.bias")
    with pytest.raises(CheckpointError) as caught:
        load_weights(PooledHead(4, 1, 3), state, "a file")
    assert caught.value.missing == ("fcs.0.bias",)
    assert caught.value.unexpected == ("fcs.7.weight",)
    assert caught.value.mis_shaped == ("fcs.0.weight: (3, 16) where (3, 4) belongs",)


def test_the_stray_class_token_of_the_original_is_passed_over() -> None:
    head = AttentionHead("Pool:2:2,Flatten,Dense:8:3:identity")
    load_weights(head, {**head.state_dict(), "cls_token": torch.zeros(1, 1, 2)}, "a file")


@pytest.mark.parametrize(
    "content", [{"weights": {}}, {"model_head": 3}, [1, 2], {"model_head": {}, "model_feedback": 4}]
)
def test_files_without_a_head_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "latest.pth")
    with pytest.raises(CheckpointError):
        read_head_file(tmp_path / "latest.pth")


def test_files_that_hold_code_are_refused(tmp_path: Path) -> None:
    torch.save({"model_head": PooledHead(4, 2, 3)}, tmp_path / "latest.pth")
    with pytest.raises(CheckpointError):
        read_head_file(tmp_path / "latest.pth")


def test_damaged_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latest.pth").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError):
        read_head_file(tmp_path / "latest.pth")
    with pytest.raises(ModelNotFound):
        read_head_file(tmp_path / "other.pth")
