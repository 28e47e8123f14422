"""Import and connect Ray. It is an extra: nothing outside `service/cluster` imports it."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from typing import Any

from backbones.errors import InvalidInput

INSTALL = "pip install 'diffsight[ray]'"
NODE_ENVIRONMENT: Mapping[str, str] = {
    # Ray's own default is 15: its workers would yield to every other program on the machine.
    "RAY_worker_niceness": "0",
    # A proxy would leave the replicas of other nodes idle until its own node's hold thousands of requests.
    "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
    # Answers requests whose replica was lost.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "service.cluster.ray_proxy:middlewares",
}
"""Environment variables of every node, set before Ray starts on it."""


def require_ray(option: str = "--ray") -> None:
    """Raises InvalidInput, about the option that needs it, if Ray is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")):
        raise InvalidInput(option, "Ray is not installed here", hint=INSTALL)


def connect(address: str, option: str = "--ray") -> Any:
    """Connect this process to a cluster. Returns the module `ray`.

    address: `local` starts one of this machine alone, `auto` takes the one that runs here, else HOST:PORT of its head.
    Raises InvalidInput where there is none.
    """
    require_ray(option)
    for name, value in NODE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    dashboard = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **dashboard)
    except Exception as error:  # Ray raises bare ones, too
        start = " ".join(f"{name}={value}" for name, value in NODE_ENVIRONMENT.items())
        raise InvalidInput(
            option,
            f"there is no Ray cluster at {address!r}: {error}",
            hint=f"start one with `{start} ray start --head`, or say `local` for this machine alone",
        ) from error
    return ray


def count_gpus(ray: Any) -> int:
    """GPUs of the cluster."""
    return int(ray.cluster_resources().get("GPU", 0))


def count_nodes(ray: Any) -> int:
    """Machines of the cluster that are alive and may compute."""
    return sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))


def wants_gpu(device: str, gpus: int) -> bool:
    """Whether a worker with the setting `device` takes one of the cluster's GPUs for itself."""
    return device.startswith("cuda") or (device == "auto" and gpus > 0)


def worker_settings(settings: Any) -> dict[str, Any]:
    """The settings of a worker that Ray starts, as values: Ray shows it one GPU, which is its first."""
    values: dict[str, Any] = settings.model_dump()
    return {**values, "device": "cuda"} if settings.device.startswith("cuda") else values
