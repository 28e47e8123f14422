"""A real Ray cluster of two nodes on this machine, each with its own processes; one of them can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from service.cluster.ray_package import NODE_ENVIRONMENT

_MEMORY = 200 << 20


class LocalCluster:
    """Two nodes with so many cores each."""

    def __init__(self, cores: int) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": cores, "object_store_memory": _MEMORY, "include_dashboard": False},
        )
        self._second = self._cluster.add_node(num_cpus=cores, object_store_memory=_MEMORY)
        self.address: str = self._cluster.address

    def kill_node(self) -> None:
        """Kill the second node and all its processes, without notice to the first."""
        own = self.workers(nodes=[self._second])
        self._cluster.remove_node(self._second, allow_graceful=False)
        for pid in own:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def workers(self, title: str = "", nodes: Sequence[Any] = ()) -> list[int]:
        """Processes that the nodes, or both, started for actors and tasks, whose title has `title` in it."""
        raylets = {
            info.process.pid
            for node in nodes or (self._cluster.head_node, *self._cluster.worker_nodes)
            for info in node.all_processes["raylet"]
        }
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        return [pid for pid in pids if _parent(pid) in raylets and title in _read(pid, "cmdline")]

    def metrics(self) -> str:
        """The metrics of both nodes in Prometheus's text format, when all replicas have reported."""
        ports = [node.metrics_export_port for node in (self._cluster.head_node, *self._cluster.worker_nodes)]
        return "".join(httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text for port in ports)

    def stop(self) -> None:
        """End both nodes."""
        self._cluster.shutdown()


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


@contextmanager
def two_nodes(folder: Path, settings: Mapping[str, Any], *, cores: int = 1) -> Iterator[LocalCluster]:
    """Two nodes with these settings in the environment of everything that they start, and so many cores each.

    folder: for the objects of callers.
    """
    variables = environment(folder, settings)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    cluster = None
    try:
        cluster = LocalCluster(cores)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def environment(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of nodes and commands."""
    variables = {f"DIFFSIGHT_{name}": str(value) for name, value in settings.items()}
    own = {"DIFFSIGHT_DATA_FOLDER": str(folder / "data"), "DIFFSIGHT_DEVICE": "cpu", "DIFFSIGHT_LOG_LEVEL": "error"}
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    root = str(Path(__file__).parents[2])
    return {**own, "DIFFSIGHT_ENGINE__TORCH_THREADS": "1", **variables, **NODE_ENVIRONMENT, **quiet, "PYTHONPATH": root}
