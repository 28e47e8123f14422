"""Bytes of waiting items: all tensors of an item, and shared tensors once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.sizes import count_bytes


@dataclass(frozen=True)
class Row:
    latents: Tensor
    bank: dict[str, Tensor]
    timestep: int = 3


def test_shared_tensors_count_once() -> None:
    shared = torch.zeros(10, dtype=torch.float16)
    rows = [Row(torch.zeros(5), {"attn1": shared}) for _ in range(3)]
    assert count_bytes(rows) == 3 * 20 + 20


def test_texts_count_their_characters_and_functions_nothing() -> None:
    assert count_bytes(["abc", torch.zeros(2, 2), print, Row]) == 3 + 16
