"""The error without Ray, and which of a cluster's devices a worker takes."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from backbones.errors import InvalidInput
from service.cluster.ray_package import INSTALL, count_gpus, count_nodes, require_ray, wants_gpu, worker_settings
from service.settings.loader import load_settings


def test_without_ray_the_error_names_the_option_and_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput) as raised:
        require_ray("--ray")
    assert raised.value.field == "--ray"
    assert raised.value.hint == INSTALL


@pytest.mark.parametrize(
    ("device", "gpus", "wanted"),
    [("cpu", 8, False), ("auto", 8, True), ("auto", 0, False), ("cuda", 0, True), ("cuda:1", 8, True)],
)
def test_a_worker_takes_a_gpu_where_the_device_is_one(device: str, gpus: int, wanted: bool) -> None:
    assert wants_gpu(device, gpus) is wanted


def test_a_worker_sees_its_gpu_as_the_first() -> None:
    assert worker_settings(load_settings(None, device="cuda:1"))["device"] == "cuda"
    assert worker_settings(load_settings(None, device="auto"))["device"] == "auto"


def test_dead_nodes_and_head_nodes_without_cores_are_not_counted() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": True, "Resources": {}},
        {"Alive": False, "Resources": {"CPU": 4.0}},
    ]
    ray = SimpleNamespace(nodes=lambda: nodes, cluster_resources=lambda: {"GPU": 3.0})
    assert (count_nodes(ray), count_gpus(ray)) == (1, 3)
