"""Spans of events and of the transactions that decide them, where COUPON_TRACING is on.

An event whose headers bring a trace gets a span in that trace, from when its batch is taken up until that is
committed or has failed. The batch has a trace of its own: it decides events of many traces. Each names the
other by a link. An event that was deferred has a second span, of another name, when it is decided after all.
All of it runs in the loop's thread, but for the transaction's span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from confluent_kafka import Message
from django.conf import settings
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer
from opentelemetry.util.types import AnyValue

from consumer.batch import BatchProcessor, NextBatch
from consumer.database_thread import Running
from consumer.kafka import headers_of, place
from consumer.reading import UNREADABLE
from consumer.source import Source
from coupons.eventlog.events import decode
from coupons.eventlog.producer import EventProducer
from coupons.issuing.deciding import Issued
from runtime import logs, tracing
from runtime.config.tracing import TracingSettings
from runtime.tracing import Tracing

SERVICE: Final = "coupon-consumer"
#: Of a span, to the events of its batch: as many as the library keeps (OTEL_SPAN_LINK_COUNT_LIMIT).
_MOST_LINKS: Final = 128
_DEFERRED: Final = "DEFERRED"  #: decided later, by ``resuming.py``
T = TypeVar("T")


class TracedEvent(NamedTuple):
    """``request_id``: None if the event cannot be read."""

    message: Message
    parent: Context
    request_id: UUID | None


class TracedProcessor:
    """A ``BatchProcessor`` whose events and transactions have spans. Called in the loop's thread.

    One for the log's batches and one for deferred events: a ``BatchProcessor`` may have the batch before in
    hand, of which it tells with the next one.
    """

    def __init__(self, traced_by: Tracing, *, producer: EventProducer, run: Running) -> None:
        self._tracer: Tracer = traced_by.tracer
        self._run = run
        self._inner = BatchProcessor(producer=producer, run=self._run_traced)
        self._resumed = BatchProcessor(producer=producer, run=self._run_traced)
        self._batch_span: Span | None = None  # of the batch in hand, if an event of it is traced
        self._decisions: dict[UUID, str] = {}  # of that batch
        self._traces: dict[
            UUID, str
        ] = {}  # by request, of this batch and the one before, which is still told
        self._newest: dict[UUID, str] = {}
        logs.tell_traces(self.trace_id_of)

    def trace_id_of(self, request_id: object) -> str:
        """The trace of this request, for log lines; empty if it has none. From any thread."""
        return self._traces.get(request_id, "") if isinstance(request_id, UUID) else ""

    def process(
        self,
        messages: Sequence[Message],
        assigned: Source,
        next_batch: NextBatch = tuple,
    ) -> None:
        """As ``BatchProcessor.process``; what that raises is noted and raised again."""
        is_resumed = assigned.resumed is not None
        inner = self._resumed if is_resumed else self._inner
        traced = [event for message in messages if (event := _traced(message)) is not None]
        newest = {each.request_id: _trace_id(each) for each in traced if each.request_id is not None}
        self._traces = self._newest | newest
        if not is_resumed:
            self._newest = newest
        if not traced:
            inner.process(messages, assigned, next_batch)
            return
        self._batch_span, self._decisions = self._begin_batch(traced, len(messages)), {}
        # Where it is not recorded, too much is traced already: then its events are not either.
        traced = traced if self._batch_span.is_recording() else []
        name = f"{'resume' if is_resumed else 'process'} {settings.CONFIG.kafka.topic}"
        spans = [self._begin(name, each, self._batch_span) for each in traced]
        try:
            inner.process(messages, assigned, next_batch)
        except BaseException as error:
            for span in (*spans, self._batch_span):
                tracing.fail(span, error)
            raise
        else:
            for each, span in zip(traced, spans, strict=True):
                span.set_attribute("coupon.decision", self._decision_of(each))
        finally:
            for span in (*spans, self._batch_span):
                span.end()
            self._batch_span = None

    def tell(self) -> None:
        self._inner.tell()

    def _begin_batch(self, traced: Sequence[TracedEvent], count: int) -> Span:
        links = [
            Link(trace.get_current_span(each.parent).get_span_context()) for each in traced[:_MOST_LINKS]
        ]
        attributes: dict[str, AnyValue] = {
            "messaging.system": "kafka",
            "messaging.batch.message_count": count,
            "coupon.traced_events": len(traced),
        }
        return self._tracer.start_span("decide batch", context=Context(), links=links, attributes=attributes)

    def _begin(self, name: str, event: TracedEvent, batch: Span) -> Span:
        at = place(event.message)
        kafka = settings.CONFIG.kafka
        attributes: dict[str, AnyValue] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": kafka.topic,
            "messaging.destination.partition.id": str(at.partition),
            "messaging.kafka.offset": at.offset,
            "messaging.consumer.group.name": kafka.group_id,
            **({"coupon.request_id": str(event.request_id)} if event.request_id else {}),
        }
        return self._tracer.start_span(
            name,
            context=event.parent,
            kind=SpanKind.CONSUMER,
            links=[Link(batch.get_span_context())],
            attributes=attributes,
        )

    def _decision_of(self, event: TracedEvent) -> str:
        """What was decided; FAILED for a dead letter, DEFERRED while the deciding of its coupon is paused."""
        return self._decisions.get(event.request_id, "FAILED") if event.request_id else "FAILED"

    def _run_traced(self, decide: Callable[[], T], meanwhile: Callable[[], None]) -> T:
        """Run a transaction of the batch in hand, in a span that lasts from its locks to its commit."""
        batch = self._batch_span
        if batch is None:
            return self._run(decide, meanwhile)

        def traced() -> T:
            span = self._tracer.start_span("transaction", context=tracing.child_of(batch))
            try:
                return decide()
            except BaseException as error:
                tracing.fail(span, error)
                raise
            finally:
                span.end()

        done = self._run(traced, meanwhile)
        if isinstance(done, Issued):
            self._decisions |= {
                each.request.event.request_id: each.decision.value for each in done.allocations
            }
            self._decisions |= {each.event.request_id: _DEFERRED for each in done.deferred}
        return done


def _traced(message: Message) -> TracedEvent | None:
    """The event, if somebody wants its trace."""
    parent = tracing.parent_in_message(headers_of(message))
    if parent is None or not trace.get_current_span(parent).get_span_context().trace_flags.sampled:
        return None
    request_id = None
    value = message.value()
    with suppress(*UNREADABLE):
        request_id = decode(value.encode() if isinstance(value, str) else value).request_id
    return TracedEvent(message, parent, request_id)


def _trace_id(event: TracedEvent) -> str:
    return tracing.trace_id_of(trace.get_current_span(event.parent))


@contextmanager
def tracing_processor(
    traces: TracingSettings, *, producer: EventProducer, run: Running
) -> Iterator[TracedProcessor]:
    """A processor that traces, and sends its last spans at the end."""
    traced_by = Tracing(traces, service=SERVICE)
    try:
        yield TracedProcessor(traced_by, producer=producer, run=run)
    finally:
        traced_by.close()
