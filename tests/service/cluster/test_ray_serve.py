"""The application for Ray Serve, without a cluster: the number of replicas, and when a replica is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backbones.errors import DiffsightError
from service.settings.loader import load_settings

pytest.importorskip("ray.serve", reason="the extra `ray` is not installed")

from service.cluster.model_router import ModelRouter
from service.cluster.ray_serve import NAME, Replica, ServeOptions, build, warm_app


@pytest.mark.parametrize("replicas", [None, 3])
def test_a_replica_takes_whole_requests_and_one_gpu(replicas: int | None) -> None:
    options = ServeOptions(replicas=replicas, most_replicas=5, gpus=1)
    deployment: Any = build(load_settings(None, device="cuda"), options)._bound_deployment
    assert deployment.name == NAME
    assert deployment.ray_actor_options["num_gpus"] == 1
    assert deployment.max_ongoing_requests > 1000
    assert deployment._deployment_config.request_router_config.get_request_router_class() is ModelRouter
    scaling: Any = deployment._deployment_config.autoscaling_config
    assert (scaling is None) == (replicas is not None)
    if scaling is not None:
        assert (scaling.min_replicas, scaling.max_replicas) == (1, 5)
        assert scaling.policy.policy_function == "service.cluster.rows_policy:RowsPolicy"


@pytest.mark.parametrize("arguments", [{"replica": 2}, {"replicas": 0}])
def test_arguments_of_a_config_file_are_checked(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServeOptions.model_validate(arguments)


def test_a_replica_is_ready_when_it_is_warm_and_healthy_while_its_device_is(tmp_path: Path) -> None:
    app = warm_app(load_settings(None, device="cpu", data_folder=tmp_path, engine={"torch_threads": 1}))
    replica = Replica()
    replica.app = app

    async def run() -> None:
        assert replica.record_autoscaling_stats() == {"rows": 0.0}
        assert replica.record_routing_stats() == {}
        async with app.router.lifespan_context(app):
            replica.check_health()
            assert app.state.server.models.worker.alive
            assert replica.record_autoscaling_stats() == {"rows": 0.0}
            report = replica.record_routing_stats()
            assert {"pocket", "/v1/depth", "/v1/pose"} <= set(report["models"])
            assert not report["full"]

    asyncio.run(run())
    with pytest.raises(DiffsightError):
        replica.check_health()


def test_a_replica_whose_model_does_not_open_does_not_start(tmp_path: Path) -> None:
    app = warm_app(load_settings(None, device="cpu", data_folder=tmp_path, backbone=str(tmp_path / "nothing")))

    async def run() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")

    with pytest.raises(DiffsightError):
        asyncio.run(run())
