"""Every status that an operation is answered with: its codes, its headers, an example of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from coupons.api import callers, errors, messages
from coupons.api.openapi import schemas, texts
from coupons.errors import RefusedError
from coupons.outcomes import Code, RequestStatus
from coupons.tickets.office_keys import Scope
from coupons.tickets.ticket import Flaw

Responses = dict[str, Any]

_REQUEST: Final = UUID("01934b2e-7c1a-7f3e-8a54-0d2b6c9e1f47")
_CLAIMED_AT: Final = 1_764_115_200_000  #: epoch milliseconds
#: Of any route: what cannot be read, what takes too long, what is broken. By status, because one code has
#: several.
_OF_ANY: Final[Mapping[int, Code]] = {
    400: Code.INVALID_REQUEST,
    405: Code.METHOD_NOT_ALLOWED,
    408: Code.INVALID_REQUEST,
    414: Code.INVALID_REQUEST,
    417: Code.INVALID_REQUEST,
    429: Code.TOO_MANY_REQUESTS,
    431: Code.INVALID_REQUEST,
    500: Code.INTERNAL_ERROR,
    503: Code.INTERNAL_ERROR,
}
_RETRY_AFTER: Final = {
    "description": texts.RETRY_AFTER,
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
#: Where limits are on.
RATE_LIMITS: Final[Mapping[str, Any]] = {
    name: {"description": described, "schema": {"type": "string"}}
    for name, described in texts.RATE_LIMITS.items()
}
_HEADERS: Final[Mapping[int, Mapping[str, Any]]] = {
    401: {
        "WWW-Authenticate": {
            "description": texts.CHALLENGE,
            "required": True,
            "schema": {"type": "string"},
        }
    },
    405: {"Allow": {"description": texts.ALLOW, "required": True, "schema": {"type": "string"}}},
    429: {"Retry-After": _RETRY_AFTER, **RATE_LIMITS},
    503: {"Retry-After": _RETRY_AFTER},
}
_DETAILS: Final[Mapping[Code, object]] = {
    Code.INVALID_REQUEST: messages.host_expected("shop.example"),
    Code.IDENTITY_NOT_PROVEN: callers.OLD_HEADER,
    Code.TICKET_MALFORMED: messages.FLAWS[Flaw.CLAIMS],
    Code.TICKET_FOREIGN: messages.FLAWS[Flaw.SIGNATURE],
    Code.SCOPE_MISSING: Scope.USERS_READ.value,
    Code.METHOD_NOT_ALLOWED: "Allow: GET, HEAD, OPTIONS",
}


def refusals(codes: Iterable[Code]) -> Responses:
    """The responses of an operation that refuses with these, and with what any route refuses with."""
    by_status: dict[int, list[Code]] = {status: [code] for status, code in _OF_ANY.items()}
    for code in codes:
        there = by_status.setdefault(errors.HTTP_STATUS[code], [])
        if code not in there:
            there.append(code)
    return {str(status): _refused(status, some) for status, some in sorted(by_status.items())}


def _refused(status: int, codes: list[Code]) -> dict[str, Any]:
    content = {
        "schema": schemas.refusal_with(codes),
        "examples": {code.value: {"value": _example(code, status)} for code in codes},
    }
    response: dict[str, Any] = {
        "description": texts.STATUSES[status],
        "content": {"application/json": content},
    }
    if status in _HEADERS:
        response["headers"] = dict(_HEADERS[status])
    return response


def _example(code: Code, status: int) -> dict[str, object]:
    """In the language of the moment."""
    is_usual = status == errors.HTTP_STATUS[code]
    is_named = code is Code.ALREADY_REQUESTED
    refused = RefusedError(
        code,
        request_id=_REQUEST if is_named else None,
        coupon_id=1,
        user_id=1,
        asked_for=_REQUEST,
        detail=_DETAILS.get(code, "") if is_usual else "",
    )
    return errors.refusal_to(refused, language=messages.language()).body


def examples(operation: str) -> dict[str, Any]:
    """Of the operation's good answer, by name, in the language of the moment."""
    language = messages.language()
    match operation:
        case "claimCoupon":
            accepted = {"success": True, "message": messages.accepted(language), "requestId": str(_REQUEST)}
            return {"ACCEPTED": {"value": accepted}}
        case "getRequest":
            return {status.value: {"value": _status(status)} for status in RequestStatus}
        case "getCoupon":
            return {"OPENED": {"value": _coupon()}}
        case "getUserCoupons":
            return {
                "ONE": {"value": {"userCoupons": [_user_coupon()]}},
                "NONE": {"value": {"userCoupons": []}},
            }
        case _:
            size = {"couponId": 1, "queueSize": 3, "message": messages.queue_size(1, 3, language)}
            return {"WAITING": {"value": size}}


def _coupon() -> dict[str, Any]:
    return {
        "couponId": 1,
        "description": texts.EXAMPLE_COUPON,
        "discountAmount": 5000,
        "stock": 99,
        "couponStatus": "OPENED",
        "issuedCount": 1,
        "opensAt": _CLAIMED_AT - 60_000,
        "closesAt": None,
        "eligibleOnly": False,
    }


def _user_coupon() -> dict[str, Any]:
    return {
        "userCouponId": 1,
        "userId": 1,
        "couponId": 1,
        "status": "ISSUED",
        "issuedAt": _CLAIMED_AT + 40,
        "usedAt": None,
    }


def _status(status: RequestStatus) -> dict[str, Any]:
    known: dict[RequestStatus, dict[str, Any]] = {
        RequestStatus.PENDING: {"processedAt": None, "position": 12, "etaSeconds": 0.1},
        RequestStatus.ISSUED: {"userCouponId": 1, "rank": 1},
        RequestStatus.REJECTED: {"reason": Code.OUT_OF_STOCK.value},
        RequestStatus.FAILED: {"reason": "UNSTORABLE"},
    }
    return {
        "requestId": str(_REQUEST),
        "couponId": 1,
        "userId": 1,
        "status": status.value,
        "reason": None,
        "userCouponId": None,
        "rank": None,
        "requestedAt": _CLAIMED_AT,
        "processedAt": _CLAIMED_AT + 40,
        "partition": 0,
        "offset": 41,
        **known[status],
    }
