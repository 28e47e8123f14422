"""Prometheus metrics of one app, on a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.engine.caches import CacheFigures
from service.engine.figures import EngineFigures, RanBatch

# From a batch on a GPU to a long race on a CPU.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Problems that refuse correct requests because of load.
REJECTIONS = (
    "body-too-large",
    "deadline-passed",
    "key-needed",
    "not-ready",
    "overloaded",
    "rate-exceeded",
    "stopping",
    "too-many-at-once",
)


class Metrics:
    """The metrics that the service counts itself; those of the engine are read from its figures at each scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "diffsight_requests_total", "Requests answered.", ["task", "code"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "diffsight_request_seconds",
            "Seconds from the request's head to the end of its answer.",
            ["task"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queue_seconds = Histogram(
            "diffsight_queue_seconds",
            "Seconds that a request's work waited for the device.",
            ["task"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rejected = Counter("diffsight_rejected_total", "Requests refused.", ["reason"], registry=self.registry)
        for reason in REJECTIONS:
            # Created at the start, so that the first event is an increase.
            self.rejected.labels(reason)
        self.batch_rows = Histogram(
            "diffsight_batch_rows", "Rows of each U-Net batch.", buckets=_ITEMS, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "diffsight_batch_seconds",
            "Device seconds of each batch, by kind of work.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def count_request(self, task: str, status: int, seconds: float, problem: str) -> None:
        """Count one answered request.

        task: the name of its route, never a client's text, so that there are few values. problem: the slug of its
        problem, empty for a success.
        """
        self.requests.labels(task, str(status)).inc()
        self.request_seconds.labels(task).observe(seconds)
        if problem in REJECTIONS:
            self.rejected.labels(problem).inc()

    def count_batch(self, batch: RanBatch) -> None:
        """Count one batch of the device; called from its thread."""
        self.batch_seconds.labels(batch.kind).observe(batch.seconds)
        if batch.kind == "unet":
            self.batch_rows.observe(batch.size)

    def watch(self, figures: Callable[[], EngineFigures]) -> None:
        """Report an engine's figures from now on."""
        self.registry.register(_EngineCollector(figures))


def metrics_table() -> str:
    """Markdown table of all metrics, for docs/observability.md."""
    nothing: dict[str, Any] = {"int": 0, "float": 0.0, "dict[str, int]": {}}
    nothing["CacheFigures"] = CacheFigures(**{field.name: nothing[str(field.type)] for field in fields(CacheFigures)})
    figures = EngineFigures(**{field.name: nothing[str(field.type)] for field in fields(EngineFigures)})
    metrics = Metrics()
    metrics.watch(lambda: figures)
    # A metric without labels has samples at once; the others get one sample for the table.
    metrics.count_request("", 0, 0.0, REJECTIONS[0])
    metrics.queue_seconds.labels("").observe(0.0)
    metrics.count_batch(RanBatch("unet", (), 0.0, 0.0, ""))
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        names = {label for sample in family.samples for label in sample.labels} - {"le"}
        names |= set(getattr(family, "_labelnames", ()))
        labels = ", ".join(f"`{label}`" for label in sorted(names))
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines)


class _EngineCollector(Collector):
    def __init__(self, figures: Callable[[], EngineFigures]) -> None:
        self.figures = figures

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Empty: the names are known without a scrape."""
        return iter(())

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """All engine metrics from one consistent reading."""
        now = self.figures()
        rows = CounterMetricFamily("diffsight_rows", "U-Net rows computed.", labels=["task"])
        for task, count in now.rows_by_task.items():
            rows.add_metric([task], count)
        yield rows
        yield GaugeMetricFamily("diffsight_queue_rows", "Rows waiting for the device.", now.waiting_rows)
        yield GaugeMetricFamily("diffsight_running_rows", "Rows being computed on the device.", now.running_rows)
        yield GaugeMetricFamily("diffsight_open_requests", "Requests that use the engine.", now.requests_open)
        yield CounterMetricFamily("diffsight_batches", "U-Net batches computed.", now.batches_total)
        yield CounterMetricFamily(
            "diffsight_cancelled", "Rows dropped before they were computed.", now.cancelled_rows_total
        )
        yield CounterMetricFamily(
            "diffsight_device_seconds", "Seconds that the device was busy.", now.device_seconds_total
        )
        yield CounterMetricFamily("diffsight_out_of_memory", "Batches that were halved.", now.out_of_memory_total)
        caches = {"contexts": now.contexts_cache, "latents": now.latents_cache}
        entries = GaugeMetricFamily("diffsight_cache_entries", "Entries held.", labels=["cache"])
        size = GaugeMetricFamily("diffsight_cache_bytes", "Bytes held.", labels=["cache"])
        hits = CounterMetricFamily("diffsight_cache_hits", "Look-ups that found an entry.", labels=["cache"])
        misses = CounterMetricFamily("diffsight_cache_misses", "Look-ups that found no entry.", labels=["cache"])
        for name, cache in caches.items():
            entries.add_metric([name], cache.entries)
            size.add_metric([name], cache.bytes)
            hits.add_metric([name], cache.hits)
            misses.add_metric([name], cache.misses)
        yield from (entries, size, hits, misses)
