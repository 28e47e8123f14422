"""Add a replica's metrics to those that Ray exports on each node, where Prometheus collects all replicas'."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from ray.util.metrics import Gauge

EXPORT_SECONDS = 5.0


class RayMetrics:
    """Copies counters and gauges of a registry to gauges of Ray, under the same names; Ray puts `ray_` before them.

    Values of counters are copied, so rates stay correct. Histograms stay at `/metrics`.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._gauges: dict[str, Gauge] = {}

    def export(self) -> None:
        """Copy all values once. Only inside a worker of Ray."""
        for family in self.registry.collect():
            if family.type not in ("counter", "gauge"):
                continue
            for sample in family.samples:
                if sample.name.endswith("_created"):
                    continue
                if sample.name not in self._gauges:
                    keys = tuple(sorted(sample.labels))
                    self._gauges[sample.name] = Gauge(sample.name, family.documentation, tag_keys=keys)
                self._gauges[sample.name].set(sample.value, tags=dict(sample.labels))

    async def repeat(self) -> None:
        """Copy them every few seconds, until cancelled."""
        while True:
            self.export()
            await asyncio.sleep(EXPORT_SECONDS)
