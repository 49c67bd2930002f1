"""The routes that may have to wait for the log, from plain values to plain values.

lookups_first.py calls them in the loop, ahead of Django's handler; the views in views.py document them.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from coupons.api import callers, messages
from coupons.api.callers import Credentials
from coupons.api.messages import Language
from coupons.api.serializers import PendingStatusSerializer, RequestStatusSerializer
from coupons.claims import queue
from coupons.claims.request_status import status_of
from coupons.errors import RefusedError
from coupons.outcomes import Code, RequestStatus
from coupons.tickets.office_keys import Scope


def request_status(request_id: UUID, language: Language, credentials: Credentials) -> dict[str, Any]:
    """The answer, ready for JSON. Raises RefusedError, LogUnavailable or a database error."""
    caller = callers.reader(credentials, Scope.REQUESTS_READ, what=f"the status of request {request_id}")
    report = status_of(request_id, may_see=caller.may)
    if report is None:
        raise RefusedError(Code.REQUEST_NOT_FOUND, asked_for=request_id)
    is_pending = report.status is RequestStatus.PENDING
    serializer = PendingStatusSerializer if is_pending else RequestStatusSerializer
    return dict(serializer(report).data)


def queue_size(coupon_id: int, language: Language) -> dict[str, Any]:
    """The answer, ready for JSON. Raises RefusedError, LogUnavailable or a database error."""
    size = queue.size(coupon_id)
    if size is None:
        raise RefusedError(Code.COUPON_NOT_FOUND, coupon_id=coupon_id)
    return {
        "couponId": coupon_id,
        "queueSize": size,
        "message": messages.queue_size(coupon_id, size, language),
    }
