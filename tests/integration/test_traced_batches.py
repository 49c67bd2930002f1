"""Spans of a batch: which events have one, what it says, and that nothing of it changes what is decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.db import OperationalError
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import StatusCode

from consumer.resuming import ResumedCoupon
from consumer.tracing import TracedProcessor
from coupons.eventlog import deferred
from coupons.eventlog.events import IssueRequest, encode, partition_key
from coupons.models import Coupon, IssueOutcome
from runtime import logs
from runtime.tracing import Bounded, Tracing
from tests.consuming import standing_before
from tests.factories import make_coupon, make_requests, make_users
from tests.messages import ReceivedMessage

pytestmark = pytest.mark.django_db
TRACED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = TRACED[:-1] + b"0"


class Spans:
    """What is traced, and the processor that traces it. ``most``: a second."""

    def __init__(self, *, most: int) -> None:
        self._exporter = InMemorySpanExporter()
        bounded = Bounded(most)
        provider = TracerProvider(sampler=ParentBased(root=bounded, remote_parent_sampled=bounded))
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        traced_by = cast(Tracing, SimpleNamespace(tracer=provider.get_tracer("tests")))
        self.processor = TracedProcessor(
            traced_by,
            producer=None,  # type: ignore[arg-type]  # no dead letter: nothing is published
            run=self._run,
        )
        self.error: Exception | None = None

    def _run(self, decide: Any, meanwhile: Any) -> Any:
        meanwhile()
        if self.error is not None:
            raise self.error
        return decide()

    def of(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]


@pytest.fixture
def spans() -> Iterator[Spans]:
    yield Spans(most=100)
    logs.tell_traces(None)


def told(
    requests: Sequence[IssueRequest],
    traces: Mapping[int, bytes],
    more: Sequence[tuple[str, bytes]] = (),
) -> list[Any]:
    """The messages that carry these requests, some of them with a trace."""
    return [
        ReceivedMessage(
            *request.place,
            key=partition_key(request.event.coupon_id),
            value=encode(request.event),
            headers=[("traceparent", traces[number]), *more] if number in traces else None,
        )
        for number, request in enumerate(requests)
    ]


def test_what_is_traced_says_how_it_was_decided(spans: Spans) -> None:
    coupon, users = make_coupon(stock=1), make_users(3)
    requests = make_requests(coupon.pk, users)
    messages = told(requests, {0: TRACED, 1: TRACED, 2: UNSAMPLED})

    spans.processor.process(messages, standing_before(messages))

    first, second = spans.of("process")
    assert [dict(each.attributes or {})["coupon.decision"] for each in (first, second)] == [
        "ISSUED",
        "OUT_OF_STOCK",
    ]
    [batch], [transaction] = spans.of("decide batch"), spans.of("transaction")
    assert transaction.parent == batch.context
    assert [link.context for each in (first, second) for link in each.links] == [batch.context] * 2
    assert dict(batch.attributes or {})["messaging.batch.message_count"] == 3
    ids = [spans.processor.trace_id_of(each.event.request_id) for each in requests]
    assert ids == [TRACED.decode()[3:35]] * 2 + [""]


def test_a_batch_that_nobody_traces_has_no_span(spans: Spans) -> None:
    coupon, users = make_coupon(stock=2), make_users(2)
    messages = told(make_requests(coupon.pk, users), {0: UNSAMPLED, 1: b"nonsense"})

    spans.processor.process(messages, standing_before(messages))

    assert not spans.of("")
    assert IssueOutcome.objects.filter(coupon_id=coupon.pk).count() == 2


def test_beyond_the_bound_a_batch_is_decided_all_the_same() -> None:
    spans = Spans(most=0)
    coupon, users = make_coupon(stock=1), make_users(1)
    messages = told(make_requests(coupon.pk, users), {0: TRACED})

    spans.processor.process(messages, standing_before(messages))
    logs.tell_traces(None)

    assert not spans.of("")
    assert IssueOutcome.objects.filter(coupon_id=coupon.pk).count() == 1


def test_an_error_is_named_without_its_message_and_raised(spans: Spans) -> None:
    coupon, users = make_coupon(stock=1), make_users(1)
    messages = told(make_requests(coupon.pk, users), {0: TRACED})
    standing = standing_before(messages)
    spans.error = OperationalError(2013, "lost, with the id of user 7")

    with pytest.raises(OperationalError):
        spans.processor.process(messages, standing)

    for span in (*spans.of("process"), *spans.of("decide batch")):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "OperationalError")
    spans.error = None
    spans.processor.process(messages, standing)
    assert dict(spans.of("process")[1].attributes or {})["coupon.decision"] == "ISSUED"


def test_an_event_that_is_put_aside_says_so(spans: Spans) -> None:
    coupon, users = make_coupon(stock=1), make_users(1)
    Coupon.objects.filter(pk=coupon.pk).update(deciding_paused_at=coupon.created_at)
    messages = told(make_requests(coupon.pk, users), {0: TRACED})

    spans.processor.process(messages, standing_before(messages))

    assert [dict(each.attributes or {})["coupon.decision"] for each in spans.of("process")] == ["DEFERRED"]


@pytest.mark.parametrize("others", [0, 5_000])
def test_an_event_that_is_decided_later_goes_on_in_its_trace(spans: Spans, others: int) -> None:
    """However many bytes of others' headers there are beside the trace."""
    coupon, users = make_coupon(stock=1), make_users(2)
    Coupon.objects.filter(pk=coupon.pk).update(deciding_paused_at=coupon.created_at)
    requests = make_requests(coupon.pk, users)
    messages = told(requests, {0: TRACED}, more=[("other", b"x" * others)])
    spans.processor.process(messages, standing_before(messages))
    Coupon.objects.filter(pk=coupon.pk).update(deciding_paused_at=None)

    source = ResumedCoupon(coupon.pk)
    spans.processor.process(source.messages(deferred.first(coupon.pk, most=9)), source)

    [put_aside], [decided] = spans.of("process"), spans.of("resume")
    assert put_aside.parent == decided.parent
    assert decided.parent is not None
    assert f"{decided.parent.trace_id:032x}" == TRACED.decode()[3:35]
    assert dict(decided.attributes or {})["coupon.decision"] == "ISSUED"
    assert dict(decided.attributes or {})["messaging.kafka.offset"] == requests[0].place.offset
    _, batch = spans.of("decide batch")
    assert [link.context for link in decided.links] == [batch.context]
    assert [each.parent for each in spans.of("transaction")][1] == batch.context
    assert spans.processor.trace_id_of(requests[0].event.request_id) == TRACED.decode()[3:35]


def test_a_batch_of_the_log_keeps_its_traces_while_deferred_events_are_decided(spans: Spans) -> None:
    """It is told with the batch after it: its log lines come then."""
    paused, other = make_coupon(stock=1), make_coupon(stock=1)
    [user] = make_users(1)
    Coupon.objects.filter(pk=paused.pk).update(deciding_paused_at=paused.created_at)
    [aside], [decided] = make_requests(paused.pk, [user]), make_requests(other.pk, [user], partition=1)
    for request in (aside, decided):
        messages = told([request], {0: TRACED})
        spans.processor.process(messages, standing_before(messages))
    Coupon.objects.filter(pk=paused.pk).update(deciding_paused_at=None)

    source = ResumedCoupon(paused.pk)
    spans.processor.process(source.messages(deferred.first(paused.pk, most=9)), source)
    [untraced] = make_requests(other.pk, [user], partition=2)
    messages = told([untraced], {})
    spans.processor.process(messages, standing_before(messages))

    assert spans.processor.trace_id_of(decided.event.request_id) == TRACED.decode()[3:35]
