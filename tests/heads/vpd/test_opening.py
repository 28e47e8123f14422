"""Opened heads: those that ship, equal contexts that are shared, and a digest of each head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from backbones.errors import ModelNotFound
from backbones.loading.diffusers_folder import load_diffusers_folder
from backbones.stable_diffusion import StableDiffusion
from heads.vpd.heads import DenseTask, DepthHead, Head
from heads.vpd.opening import digest_head, find_shipped_head, open_task_head, share_contexts
from tests.conftest import WITHOUT_HEADS

TASKS: tuple[DenseTask, ...] = ("depth", "segmentation", "referring")


@pytest.mark.parametrize("task", TASKS)
def test_a_head_ships_for_the_embedded_backbone_alone(backbone: StableDiffusion, task: DenseTask) -> None:
    head: Any = open_task_head(task, backbone, find_shipped_head(task, backbone))
    assert head.revision
    other = load_diffusers_folder(WITHOUT_HEADS)
    assert find_shipped_head(task, other) is None
    with pytest.raises(ModelNotFound) as caught:
        open_task_head(task, other)
    assert task.upper() in caught.value.hint


def test_equal_contexts_are_one_tensor(heads: dict[str, Head]) -> None:
    first = heads["depth"]
    assert isinstance(first, DepthHead)
    held, shared = share_contexts(first), share_contexts(replace(first, contexts=first.contexts.clone()))
    assert isinstance(held, DepthHead)
    assert isinstance(shared, DepthHead)
    assert shared.contexts is held.contexts
    assert share_contexts(heads["referring"]) is heads["referring"]


def test_a_digest_changes_with_everything_that_decides_an_answer(
    backbone: StableDiffusion, heads: dict[str, Head]
) -> None:
    head = heads["depth"]
    assert isinstance(head, DepthHead)
    changed = [
        replace(head, max_metres=head.max_metres + 1),
        replace(head, size=head.size * 2),
        replace(head, contexts=head.contexts + torch.finfo(torch.float32).eps * 4),
    ]
    digests = {digest_head(backbone, each_head) for each_head in (head, *changed)}
    assert len(digests) == 1 + len(changed)
    assert digest_head(backbone, replace(head, name="other")) in digests
