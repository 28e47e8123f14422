"""Weights in host memory: within a budget, unchanged, and only once."""

from __future__ import annotations

import asyncio
from typing import Any

import torch
from torch import nn

from backbones.loading.source import open_backbone
from heads.vpd import depth
from service.models.host_memory import HOST, HeldModel, HostMemory, move, tensors_in
from service.models.loading import OpenHeads
from service.settings.loader import load_settings


def make_held_model(size: int, opened: Any = None, revision: str = "one") -> HeldModel:
    return HeldModel(opened, {}, revision, size, HOST)


def test_the_oldest_copy_is_evicted_first_and_too_large_a_copy_is_not_kept() -> None:
    memory = HostMemory(100)
    for name, size in (("a", 40), ("b", 50), ("too large", 101), ("c", 30)):
        memory.keep(name, make_held_model(size))
    assert {name: memory.bytes_of(name) for name in ("a", "b", "too large", "c")} == {
        "a": 0, "b": 50, "too large": 0, "c": 30,
    }  # fmt: skip
    assert memory.bytes == 80
    assert memory.take("b") is not None
    assert memory.take("b") is None
    memory.drop("c")
    assert memory.bytes == 0


def test_a_model_over_other_weights_than_it_was_opened_over_is_not_taken() -> None:
    memory = HostMemory(100)
    memory.keep("a", make_held_model(1, revision="old"))
    assert memory.take("a", "new") is None
    memory.keep("a", make_held_model(1, revision="new"))
    assert memory.take("a", "new") is not None


def test_moved_tensors_keep_their_values_and_what_they_share() -> None:
    base = torch.arange(12, dtype=torch.float32)
    network = nn.Linear(3, 2)
    network.weight.data = base[6:].view(3, 2).T
    tensors = [base, network.weight, torch.ones(2, dtype=torch.float16)]
    before = [(tensor.detach().clone(), tensor.stride(), tensor.data_ptr()) for tensor in tensors]
    move(tensors, HOST)
    for tensor, (values, stride, pointer) in zip(tensors, before, strict=True):
        assert torch.equal(tensor, values)
        assert (tensor.stride(), tensor.data_ptr() != pointer) == (stride, True)
    base.zero_()
    assert not network.weight.any()


def test_every_tensor_of_a_backbone_and_its_heads_is_seen_once() -> None:
    backbone = open_backbone("pocket")
    heads = OpenHeads(load_settings(device="cpu"), backbone, [depth.TASK])
    heads.open_all()
    tensors = list(tensors_in(heads))
    networks = (backbone.vae, backbone.text_encoder, backbone.variants[""].unet, heads.require(depth.TASK).network)
    own = {id(parameter) for network in networks for parameter in network.parameters()}
    assert own <= {id(tensor) for tensor in tensors}
    assert len({id(tensor) for tensor in tensors}) == len(tensors) > len(own)


def test_a_copy_that_is_under_way_is_waited_for_and_a_failed_one_is_forgotten() -> None:
    async def run() -> list[bool]:
        memory = HostMemory(100)
        loop = asyncio.get_running_loop()
        for name in ("good", "bad"):
            memory.keep(name, entry := make_held_model(1))
            entry.moving = loop.create_future()
        memory._held["good"].moving.set_result(None)  # type: ignore[union-attr]
        memory._held["bad"].moving.set_exception(RuntimeError("no memory"))  # type: ignore[union-attr]
        await memory.settle()
        return [memory.take(name) is not None for name in ("good", "bad")]

    assert asyncio.run(run()) == [True, False]
