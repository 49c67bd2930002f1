"""Traces by OpenTelemetry. Imported where COUPON_TRACING is on, and nowhere else: neither is the library.

Made in each process after its fork, in the worker's loop or in the consumer's main thread. A span that ends
is put into a queue of OTEL_BSP_MAX_QUEUE_SIZE (2,048) spans; one that finds it full takes the oldest one's
place. A thread of the library's sends what is there, OTEL_BSP_MAX_EXPORT_BATCH_SIZE (512) at a time. So
nobody waits for a collector, and one that is away costs the memory of the queue and a log line a minute.

Nothing is patched here (runtime/gunicorn_worker.py): the library's thread is one of the system's, and its
locks are held for microseconds. The deadlocks under gevent that its tracker tells of (opentelemetry-python
3886, 4025, 4345) need a patched lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from runtime import __version__
from runtime.config.tracing import TracingSettings

#: A stopping process waits so long for its last spans. Longer, and a collector that hangs holds up each stop,
#: and gunicorn's master kills the worker; shorter, and a busy collector misses them. The library's own
#: patience is 30 s.
_LAST_SPANS_S: Final = 1.0
_W3C: Final = TraceContextTextMapPropagator()
_TRACEPARENT: Final = "traceparent"
Headers = tuple[tuple[str, bytes], ...]  #: of a Kafka message


class Tracing:
    """One per process. ``tracer`` may be used in any thread."""

    def __init__(self, settings: TracingSettings, *, service: str) -> None:
        """``service``: the name of this program, where OTEL_SERVICE_NAME says no other."""
        ours = Resource({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(
            sampler=_sampler(settings),
            resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer: Final[Tracer] = self._provider.get_tracer("coupon-system", __version__)

    def close(self) -> None:
        """Send what is left, if the collector takes it at once. From any thread but the exporter's."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(_LAST_SPANS_S)


class Bounded(Sampler):
    """Samples whatever it is asked about, up to so many a second. For the threads that begin spans.

    A caller outside says by itself whether its claims are traced, and may say so of all of them: each costs
    some tenths of a millisecond. Two threads that count at once may let one more pass.
    """

    def __init__(self, most_per_second: int) -> None:
        self._most = most_per_second
        self._second = 0
        self._taken = 0

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        state = trace.get_current_span(parent_context).get_span_context().trace_state
        if self._taken > self._most:
            return SamplingResult(Decision.DROP, None, state)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)

    def get_description(self) -> str:
        return f"Bounded({self._most} a second)"


def _sampler(settings: TracingSettings) -> Sampler:
    """What is begun here is traced, what a caller begins as the caller says; both are bounded together."""
    bounded = Bounded(settings.most_per_second)
    return ParentBased(root=bounded, remote_parent_sampled=bounded)


def parent_in(headers: Mapping[bytes, bytes]) -> Context | None:
    """The caller's trace in these header lines, by name in lower case; None without one that is right."""
    value = headers.get(b"traceparent")
    return None if value is None else _parent(value)


def parent_in_message(headers: Mapping[str, bytes]) -> Context | None:
    """The trace of a message of the log; None without one that is right."""
    value = headers.get(_TRACEPARENT)
    return None if value is None else _parent(value)


def _parent(traceparent: bytes) -> Context | None:
    """Without ``tracestate``: anybody may send 8 kB of it, which take a millisecond of the loop to read, and
    would go into the log with each event.
    """
    context = _W3C.extract({_TRACEPARENT: traceparent.decode("latin1")})
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def headers_of(span: Span) -> Headers:
    """What goes with a message that the span sends."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return tuple((name, value.encode()) for name, value in carrier.items())


def child_of(span: Span) -> Context:
    return trace.set_span_in_context(span)


def fail(span: Span, error: BaseException) -> None:
    """Say which error it was, and no more: a database's message may have a user's id in it."""
    span.set_status(Status(StatusCode.ERROR, type(error).__name__))


def trace_id_of(span: Span) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)
