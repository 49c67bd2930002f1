"""The claim: the route that a million people ask in the same second.

``submit`` is the whole route, from plain values to plain values. front.py calls it ahead of Django's handler;
``ClaimView`` documents it, and serves it where there is no loop (a test's client).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qs
from uuid import UUID

import uuid_utils.compat
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.views import APIView

from coupons.api import callers, messages, security
from coupons.api.callers import Credentials
from coupons.api.limits import RequestLimit
from coupons.api.messages import Language
from coupons.api.openapi import parameters
from coupons.api.openapi.describing import described
from coupons.api.replies import json_reply, refusal_reply, sold_out, unpublished
from coupons.api.serializers import AcceptedSerializer
from coupons.claim import Claim
from coupons.claims import batching
from coupons.claims.submitting import Accepted, Answer
from coupons.errors import RefusedError
from coupons.eventlog.events import MAX_ID
from coupons.figures.counting import desk as figures
from coupons.outcomes import Code
from coupons.tickets.ticket import UnknownKeyError
from runtime import metrics
from runtime.http.reply import Reply

_ONE_USER_ID: Final = re.compile(r"userId=([0-9]{1,30})", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)
#: Bytes of a claim's body, which decides nothing and is parsed in the loop: parsing 2 MB would stop the
#: worker for 0.2 s. Shorter, and a client's harmless body is refused; longer, and such bodies hold up other
#: claims.
LONGEST_BODY: Final = 4096
#: Version 7: ids that sort by time keep the index of the outcomes small and warm.
new_request_id: Final[Callable[[], UUID]] = uuid_utils.compat.uuid7


def submit(
    coupon_id: int,
    *,
    query: str,
    body: bytes,
    is_too_long: bool,
    credentials: Credentials,
    language: Language,
    reply: Callable[[Reply], None],
    limit: RequestLimit | None = None,
    new_id: Callable[[], UUID] = new_request_id,
) -> None:
    """Check one claim and submit it. ``reply`` gets the answer, once: now, or when the claim's batch is done.

    ``limit`` counts it, and answers in place of ``reply`` if it refuses. ``is_too_long``: the body was longer
    than LONGEST_BODY. ``new_id`` makes its request id, once it is checked. Runs in the loop, or in its hub:
    nothing here may wait. A claim that is signed with a key that we do not have is checked again when the
    shop's keys were fetched.
    """
    began = time.monotonic()
    asked = _Asked(coupon_id, query, body, is_too_long, credentials, language, reply, limit, new_id, began)
    _go_on(asked, has_waited=False)


class _Asked(NamedTuple):
    """A claim before it is checked. ``began``: monotonic seconds."""

    coupon_id: int
    query: str
    body: bytes
    is_too_long: bool
    credentials: Credentials
    language: Language
    reply: Callable[[Reply], None]
    limit: RequestLimit | None
    new_id: Callable[[], UUID]
    began: float


def _go_on(asked: _Asked, *, has_waited: bool) -> None:
    """``has_waited``: for the shop's new keys."""
    try:
        claim = _checked(asked)
        _submit(claim, asked)
    except Exception as error:  # noqa: BLE001 - the edge: every error is answered as JSON, and logged
        may_be_new = isinstance(error, UnknownKeyError) and not has_waited
        if may_be_new and callers.when_keys_are_fetched(lambda: _go_on(asked, has_waited=True)):
            return
        refuse = partial(_refuse, asked, error)
        if asked.limit is None:
            refuse()
        else:
            asked.limit.take(refuse)


def _submit(claim: Claim, asked: _Asked) -> None:
    def answer(answered: Answer | Exception) -> None:
        try:
            asked.reply(_reply(claim, answered, asked.language))
        except Exception as error:  # noqa: BLE001 - as above
            asked.reply(refusal_reply(error, asked.language))

    if asked.limit is None:
        batching.submit(claim, answer)
    else:
        batching.submit(claim, answer, asked.limit.of(claim.user_id))


def _refuse(asked: _Asked, error: Exception) -> None:
    """Answer a claim that joins no batch, and whose limit let it pass."""
    asked.reply(_refused(asked.coupon_id, error, asked.language, asked.began))


def _refused(coupon_id: int, error: Exception, language: Language, began: float) -> Reply:
    code = error.code if isinstance(error, RefusedError) else Code.INTERNAL_ERROR
    metrics.CLAIMS.labels(outcome=code.value).inc()
    took_s = time.monotonic() - began
    metrics.CLAIM_SECONDS.observe(took_s)
    figures.answered([coupon_id], [code.value], [took_s])
    return refusal_reply(error, language)


def _checked(asked: _Asked) -> Claim:
    """The claim. Raises RefusedError."""
    user_id = _user_id(asked.query, asked.body)
    if asked.is_too_long or asked.body:
        _refuse_malformed(asked.body, is_too_long=asked.is_too_long)
    callers.refuse_claim(asked.credentials, user_id=user_id, coupon_id=asked.coupon_id)
    return Claim(coupon_id=asked.coupon_id, user_id=user_id, request_id=asked.new_id())


def _reply(claim: Claim, answered: Answer | Exception, language: Language) -> Reply:
    if isinstance(answered, Accepted):
        request_id = str(answered.request_id).encode()
        fields, body = _ACCEPTED[language]
        return Reply(HTTPStatus.ACCEPTED, fields % request_id, body % request_id)
    if isinstance(answered, Exception):
        return refusal_reply(answered, language)
    if answered.code is Code.OUT_OF_STOCK and answered.request_id is None:
        return sold_out(claim.coupon_id, language)
    if answered.code is Code.BROKER_UNAVAILABLE and answered.request_id is None:
        return unpublished(language)
    refused = RefusedError(
        answered.code, request_id=answered.request_id, coupon_id=claim.coupon_id, user_id=claim.user_id
    )
    return refusal_reply(refused, language)


def _accepted(language: Language) -> tuple[bytes, bytes]:
    """The accepted claim's header lines and body, each with a gap for the request id."""
    body = {"success": True, "message": messages.accepted(language), "requestId": "%s"}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    length = len(text) - len("%s") + _REQUEST_ID_BYTES
    location = ("Location", "/api/coupons/requests/%s")
    fields = json_reply(HTTPStatus.ACCEPTED, b" " * length, language, [location]).fields
    return fields, text


_REQUEST_ID_BYTES: Final = 36
_ACCEPTED: Final[dict[Language, tuple[bytes, bytes]]] = {"ko": _accepted("ko"), "en": _accepted("en")}


def _user_id(query: str, body: bytes) -> int:
    """The only userId of the query string. Raises RefusedError, also for a userId in the body."""
    if match := _ONE_USER_ID.fullmatch(query):
        values = [match[1]]
    else:
        values = parse_qs(query, keep_blank_values=True).get("userId", [])
    if len(values) == 1 and _DIGITS.fullmatch(values[0]) and 1 <= int(values[0]) <= MAX_ID:
        return int(values[0])
    is_elsewhere = not values and b"userId" in body
    raise RefusedError(
        Code.INVALID_REQUEST,
        detail=messages.USER_ID_BELONGS if is_elsewhere else messages.USER_ID_EXPECTED,
    )


def _refuse_malformed(body: bytes, *, is_too_long: bool) -> None:
    """Refuse a body that is too long or no JSON: its client relies on it, though no body is needed."""
    if is_too_long or len(body) > LONGEST_BODY:
        raise RefusedError(Code.INVALID_REQUEST, detail=messages.body_too_long(LONGEST_BODY))
    try:
        json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(Code.INVALID_REQUEST, detail=messages.BODY_EXPECTED) from error


class ClaimView(APIView):
    @described(
        "claimCoupon",
        answers=AcceptedSerializer,
        status=202,
        parameters=[parameters.COUPON_ID, parameters.CLAIMING_USER_ID],
        refuses=[
            *callers.REFUSES_CLAIM,
            Code.USER_NOT_FOUND,
            Code.COUPON_NOT_FOUND,
            Code.NOT_ELIGIBLE,
            Code.COUPON_CLOSED,
            Code.CLAIMS_PAUSED,
            Code.OUT_OF_STOCK,
            Code.ALREADY_REQUESTED,
            Code.BROKER_UNAVAILABLE,
        ],
        security=security.CLAIM,
    )
    def post(self, request: Request, coupon_id: int) -> HttpResponse:
        replies: list[Reply] = []
        credentials = callers.credentials_in(request)
        submit(
            coupon_id,
            query=request.META.get("QUERY_STRING", ""),
            body=request.body,
            is_too_long=False,
            credentials=credentials,
            language=messages.language(),
            reply=callers.with_warning(replies.append, credentials),
        )
        [reply] = replies
        return HttpResponse(reply.body, status=reply.status, headers=reply.headers)
