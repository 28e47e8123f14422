"""Traces by OpenTelemetry: a span for each request and one below it for each of its stages.

They are on if the setting `telemetry.otlp_endpoint` names a collector. Otherwise OpenTelemetry's SDK is not imported,
and a request costs one look-up more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread
from typing import Any, TypeVar, cast

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope
from torch import Tensor

from backbones.errors import InvalidInput
from backbones.rows import Captures, UNetRow
from service.engine.session import Session
from service.settings.groups import TelemetrySettings
from service.version import read_version

Result = TypeVar("Result")
Input = TypeVar("Input")

# Supervisors and Prometheus call these every few seconds; their spans would hide the others.
UNTRACED = ("/health/", "/v2/health/", "/metrics")
# Any other method is a client's text, with unbounded values.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STOP_SECONDS = 2.0


class Tracing:
    """The tracer of one app, which sends its spans to the collector that the settings name."""

    def __init__(self, settings: TelemetrySettings) -> None:
        """Raises InvalidInput if the extra is not installed."""
        try:
            from service.telemetry.otlp import make_exporter, make_provider
        except ImportError as error:
            raise InvalidInput(
                "telemetry.otlp_endpoint",
                "traces need OpenTelemetry's SDK and exporter, which are not installed",
                hint="pip install 'diffsight[otel]', or unset DIFFSIGHT_TELEMETRY__OTLP_ENDPOINT",
            ) from error
        self._exporter = make_exporter(settings)
        self._provider = make_provider(settings, self._exporter)
        self._tracer = self._provider.get_tracer("diffsight", read_version())

    def request(self, scope: Scope) -> RequestTrace | None:
        """The trace of the request that begins now, below the caller's own where it sent a `traceparent`."""
        if scope["path"].startswith(UNTRACED):
            return None
        return RequestTrace(self._tracer, scope)

    def stop(self) -> None:
        """Send the remaining spans, for some seconds at most, and end the exporter's thread."""
        # Without a time limit of its own it would retry while the collector is down.
        flushing = Thread(target=self._provider.force_flush, name="last spans", daemon=True)
        flushing.start()
        flushing.join(_STOP_SECONDS)
        if flushing.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
        self._provider.shutdown()


class RequestTrace:
    """The span of one request, the parent of its stages."""

    def __init__(self, tracer: trace.Tracer, scope: Scope) -> None:
        self._tracer = tracer
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        self._started = time.time_ns()
        self.span = tracer.start_span(
            self._method,
            TraceContextTextMapPropagator().extract(headers),
            SpanKind.SERVER,
            {"http.request.method": self._method, "url.path": scope["path"], "url.scheme": scope.get("scheme", "http")},
            start_time=self._started,
        )
        self._below = trace.set_span_in_context(self.span)
        self._shared: dict[str, str | int] = {}

    @property
    def trace_id(self) -> str:
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def traceparent(self) -> str:
        """The W3C header that names this request's span."""
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, self._below)
        return carrier.get("traceparent", "")

    def share(self, attributes: Mapping[str, str | int]) -> None:
        """Put these on the request's span and on every stage that begins later."""
        self._shared.update(attributes)
        self.span.set_attributes(attributes)

    @contextmanager
    def stage(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[Span]:
        """A span around the block, which is marked as failed where an error leaves it."""
        span = self._tracer.start_span(name, self._below, attributes={**self._shared, **attributes})
        try:
            yield span
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()

    def past(self, name: str, started: int, ended: int, *, within: Span | None = None) -> None:
        """A span that is over, in nanoseconds of `time.time_ns`, below `within` or the request's own."""
        below = self._below if within is None else trace.set_span_in_context(within)
        self._tracer.start_span(name, below, attributes=self._shared, start_time=started).end(ended)

    def mark_admitted(self, task: str, labels: int) -> None:
        """Record a span for reading and checking the request, which has passed."""
        self.share({"diffsight.task": task} | ({"diffsight.labels": labels} if labels else {}))
        self.past("admit", self._started, time.time_ns())

    def fault(self, error: Exception) -> None:
        """Record an unexpected error, with its traceback."""
        self.span.record_exception(error)

    def end(self, scope: Scope, status: int) -> None:
        """End the request's span, under its route's name."""
        state = scope["state"]
        route = getattr(scope.get("route"), "path", "")
        if route:
            self.span.update_name(f"{self._method} {route}")
            self.span.set_attribute("http.route", route)
        self.span.set_attribute("http.response.status_code", status)
        self.span.set_attribute("diffsight.request_id", state["request_id"])
        self.span.set_attribute("diffsight.rows", state["usage"].rows)
        if problem := state.get("problem"):
            self.span.set_attribute("error.type", problem)
        if status >= 500 or not status:
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


class _TracedEngine:
    """A request's engine that records every call as a stage; everything else is the engine's own."""

    def __init__(self, engine: Session, trace: RequestTrace) -> None:
        self._engine = engine
        self._trace = trace
        self._begun = 0
        self._open = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def encode(self, pixel_values: Sequence[Tensor]) -> list[Tensor]:
        latents: list[Tensor] = await self._call_in_span(
            "encode", "encode", {"diffsight.images": len(pixel_values)}, pixel_values
        )
        return latents

    async def embed(self, texts: Sequence[str]) -> list[Tensor]:
        contexts: list[Tensor] = await self._call_in_span("embed", "embed", {"diffsight.texts": len(texts)}, texts)
        return contexts

    async def unet(self, rows: Sequence[UNetRow]) -> list[Captures]:
        captures: list[Captures] = await self._call_in_span("step", "unet", {"diffsight.rows": len(rows)}, rows)
        return captures

    async def decode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        # The stage `decode` is that of the image file.
        images: list[Tensor] = await self._call_in_span(
            "vae_decode", "decode", {"diffsight.images": len(latents)}, latents
        )
        return images

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        result: Result = await self._call_in_span("head", "run", {}, function, *arguments)
        return result

    async def apply(
        self, network: Callable[[Sequence[Input]], Sequence[Result]], inputs: Sequence[Input]
    ) -> list[Result]:
        results: list[Result] = await self._call_in_span(
            "network", "apply", {"diffsight.inputs": len(inputs)}, network, inputs
        )
        return results

    async def run_on_host(self, function: Callable[..., Result], *arguments: Any) -> Result:
        with self._trace.stage("host", {}):
            return await self._engine.run_on_host(function, *arguments)

    async def _call_in_span(self, name: str, kind: str, attributes: Mapping[str, int], *arguments: Any) -> Any:
        """The engine's result, in a span of that name with the wait for the device below it."""
        timings = self._engine.timings
        waited, spent = timings.get("queue", 0.0), timings.get(kind, 0.0)
        self._begun += 1
        self._open += 1
        mine, alone = self._begun, self._open == 1
        try:
            with self._trace.stage(name, attributes) as span:
                try:
                    return await getattr(self._engine, kind)(*arguments)
                finally:
                    # Sums over the request: if calls overlapped, the share of this call is unknown.
                    if alone and self._begun == mine and timings.get("queue", 0.0) > waited:
                        began = time.time_ns() - _nanoseconds(timings[kind] - spent)
                        self._trace.past("queue", began, began + _nanoseconds(timings["queue"] - waited), within=span)
        finally:
            self._open -= 1


def open_tracing(settings: TelemetrySettings) -> Tracing | None:
    """The tracing by the settings, or None. Raises InvalidInput if the extra is not installed."""
    return Tracing(settings) if settings.otlp_endpoint else None


def stage(trace: RequestTrace | None, name: str, **attributes: int) -> AbstractContextManager[object]:
    """A span around a block, or nothing if there is no trace."""
    if trace is None:
        return nullcontext()
    return trace.stage(name, {f"diffsight.{key}": value for key, value in attributes.items()})


def trace_calls(engine: Session, trace: RequestTrace | None) -> Session:
    """The engine, each of whose calls is a stage of the trace; the engine itself if there is none."""
    if trace is None:
        return engine
    trace.share({"diffsight.backbone": engine.backbone.name})
    return cast("Session", _TracedEngine(engine, trace))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
