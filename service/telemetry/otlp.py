"""Spans over OTLP, by OpenTelemetry's SDK and exporter: packages of the extra `otel`, which servers without it lack."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from service.settings.groups import TelemetrySettings
from service.version import read_version


def make_exporter(settings: TelemetrySettings) -> OTLPSpanExporter:
    """What sends spans to the collector that the settings name."""
    return OTLPSpanExporter(endpoint=f"{(settings.otlp_endpoint or '').rstrip('/')}/v1/traces")


def make_provider(settings: TelemetrySettings, exporter: OTLPSpanExporter) -> TracerProvider:
    """The provider of tracers under the settings' name, with their share of requests."""
    named = {"service.name": settings.service_name, "service.version": read_version()}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=Resource.create(named),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
