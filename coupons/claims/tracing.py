"""Spans of claims, where COUPON_TRACING is on: from the request to the broker's acknowledgement.

A traced claim has a span from its request to its answer, and in it one for check and admission, with the wait
for its batch, and one for publishing, whose context goes with the event in its headers. The consumer goes on
from there (``consumer/tracing.py``). What is traced is chosen when the worker starts: without tracing no
claim meets a line of this. All of it runs in the loop or its hub.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from random import random
from typing import Final
from uuid import UUID

import msgspec
import uuid_utils.compat
from django.conf import settings
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from coupons.claims import submitting
from coupons.eventlog.delivery import Acknowledged, Receipt, Record, Uncertain
from coupons.eventlog.events import CouponIssueEvent
from runtime import logs, tracing
from runtime.http.reply import Reply
from runtime.http.request import Request
from runtime.tracing import Tracing

SERVICE: Final = "coupon-api"
_ROUTE: Final = "/api/coupons/{couponId}/issue"


class ClaimTrace:
    """One traced claim, from its request to its answer."""

    def __init__(self, span: Span, claims: dict[UUID, ClaimTrace]) -> None:
        self.span: Final = span
        self.trace_id: Final = tracing.trace_id_of(span)
        self.began_ns: Final = time.time_ns()
        self._claims = claims
        self._request_id: UUID | None = None

    def new_id(self) -> UUID:
        """The claim's request id, by which its batch finds this trace."""
        request_id = uuid_utils.compat.uuid7()
        self._request_id = request_id
        self.span.set_attribute("coupon.request_id", str(request_id))
        self._claims[request_id] = self
        return request_id

    def end(self, reply: Reply) -> None:
        """The claim is answered."""
        self.span.set_attribute("http.response.status_code", reply.status.value)
        if reply.status != HTTPStatus.ACCEPTED:
            self.span.set_attribute("coupon.code", _code_in(reply))
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.span.set_status(Status(StatusCode.ERROR))
        self._forget()

    def fail(self, error: BaseException) -> None:
        """Serving the claim raised; the connection answers."""
        tracing.fail(self.span, error)
        self._forget()

    def _forget(self) -> None:
        if self._request_id is not None:
            self._claims.pop(self._request_id, None)
        self.span.end()


def _code_in(reply: Reply) -> str:
    return str(msgspec.json.decode(reply.body, type=dict[str, object]).get("code", ""))


class ClaimTraces:
    """The claims of this worker that are traced."""

    def __init__(self, traced_by: Tracing, *, ratio: float) -> None:
        self._tracer = traced_by.tracer
        self._ratio = ratio
        self._claims: dict[UUID, ClaimTrace] = {}
        self._topic = settings.CONFIG.kafka.topic

    def begin(self, request: Request, coupon_id: int) -> ClaimTrace | None:
        """The trace of a claim that has just come; None if it has none, which costs a look at two headers."""
        parent = tracing.parent_in(request.headers)
        if parent is None and random() >= self._ratio:
            return None
        attributes = {
            "http.request.method": "POST",
            "http.route": _ROUTE,
            "url.path": request.path,
            "url.scheme": "https" if request.is_secure else "http",
            "coupon.id": coupon_id,
        }
        span = self._tracer.start_span(
            f"POST {_ROUTE}", context=parent, kind=SpanKind.SERVER, attributes=attributes
        )
        return ClaimTrace(span, self._claims) if span.is_recording() else None

    def trace_id_of(self, request_id: object) -> str:
        """The trace of this request, for log lines; empty if it has none."""
        trace = self._claims.get(request_id) if isinstance(request_id, UUID) else None
        return trace.trace_id if trace else ""

    def publish(
        self, events: Sequence[CouponIssueEvent], records: Sequence[Record], reserving_since: float
    ) -> Iterator[dict[int, Receipt]]:
        """As ``submitting.publish_records``, with a span for each event whose claim is traced."""
        traced = [(index, self._claims.get(event.request_id)) for index, event in enumerate(events)]
        spans = {index: self._begin_publish(trace) for index, trace in traced if trace is not None}
        traced_records = [
            replace(record, headers=tracing.headers_of(spans[index])) if index in spans else record
            for index, record in enumerate(records)
        ]
        try:
            for receipts in submitting.publish_in_time(traced_records, reserving_since):
                for index in [*(spans.keys() & receipts.keys())]:
                    _end_publish(spans.pop(index), receipts[index])
                yield receipts
        finally:
            for span in spans.values():  # nobody waits for these any more
                _end_publish(span, Uncertain(error="not acknowledged while somebody waited"))

    def _begin_publish(self, trace: ClaimTrace) -> Span:
        now_ns, parent = time.time_ns(), tracing.child_of(trace.span)
        self._tracer.start_span("screen", context=parent, start_time=trace.began_ns).end(now_ns)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "send",
            "messaging.destination.name": self._topic,
        }
        return self._tracer.start_span(
            f"send {self._topic}",
            context=parent,
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            start_time=now_ns,
        )


def _end_publish(span: Span, receipt: Receipt) -> None:
    if isinstance(receipt, Acknowledged):
        span.set_attribute("messaging.destination.partition.id", str(receipt.place.partition))
        span.set_attribute("messaging.kafka.offset", receipt.place.offset)
    else:
        span.set_status(Status(StatusCode.ERROR, receipt.error))
    span.end()


_tracing: Tracing | None = None


def start() -> ClaimTraces:
    """From now on this worker traces claims. Call it in the thread of its loop, after the fork."""
    global _tracing
    _tracing = Tracing(settings.CONFIG.tracing, service=SERVICE)
    traces = ClaimTraces(_tracing, ratio=settings.CONFIG.tracing.ratio)
    submitting.publish_by(traces.publish)
    logs.tell_traces(traces.trace_id_of)
    return traces


def stop() -> None:
    """Send the last spans. Does nothing where nothing was started."""
    global _tracing
    if _tracing is not None:
        _tracing.close()
        _tracing = None
