"""The claim route where COUPON_TRACING is on: as ``front.py``, with a span from the request to its answer."""

from __future__ import annotations

from collections.abc import Callable

from coupons.api import front
from coupons.api.front import ClaimedCoupon
from coupons.claims.tracing import ClaimTrace, ClaimTraces
from runtime.http.reply import Reply
from runtime.http.request import Request


class TracedRequest(Request):
    """Stands in for the request that was asked, until its answer, whoever gives that."""

    __slots__ = ("_asked", "_trace")

    def __init__(self, asked: Request, trace: ClaimTrace) -> None:
        super().__init__(
            asked.connection, asked.method, asked.target, asked.version, asked.headers, keeps=asked.keeps
        )
        self.body, self.is_too_long = asked.body, asked.is_too_long
        self.answer_fields = asked.answer_fields
        self._asked = asked
        self._trace = trace

    def answer(self, reply: Reply) -> None:
        self._asked.answer_fields = self.answer_fields
        self._asked.answer(reply)
        self._trace.end(reply)


def serving(traces: ClaimTraces) -> Callable[[Request, ClaimedCoupon], None]:
    """What serves claims in place of ``front.serve``."""

    def serve(request: Request, claimed: ClaimedCoupon) -> None:
        trace = traces.begin(request, claimed.coupon_id)
        if trace is None:
            front.serve(request, claimed)
            return
        try:
            front.serve(TracedRequest(request, trace), claimed, new_id=trace.new_id)
        except BaseException as error:
            trace.fail(error)
            raise

    return serve
