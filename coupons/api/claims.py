"""The claim: the route that a million people ask in the same second.

``answer`` is the whole route, from plain values to plain values. front.py calls it ahead of Django's handler;
``ClaimView`` documents it, and serves it where there is no front (a test's client).
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import uuid_utils.compat
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from coupons.api import messages
from coupons.api.messages import Language
from coupons.api.replies import Reply, json_reply
from coupons.api.serializers import AcceptedSerializer, RefusalSerializer
from coupons.claim import Claim
from coupons.claims import batching, identity
from coupons.claims.submitting import Accepted
from coupons.errors import RefusedError
from coupons.eventlog.events import MAX_ID
from coupons.outcomes import Code
from runtime import metrics

_ONE_USER_ID: Final = re.compile(r"userId=([0-9]{1,30})", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)
#: Bytes of a claim's body, which decides nothing and is parsed in the loop: parsing 2 MB would stop the
#: worker for 0.2 s. Shorter, and a client's harmless body is refused; longer, and such bodies hold up other
#: claims. The bytes that came count, whatever Content-Length said (runtime/request_body.py reads them).
_LONGEST_BODY: Final = 4096
_REFUSED: Final = OpenApiResponse(RefusalSerializer, description="A refusal; `code` says why.")


def answer(coupon_id: int, *, query: str, body: bytes, token: str, language: Language) -> Reply:
    """Answer one claim. Raises RefusedError or a database error; ``refusal_reply`` (replies.py) answers both.

    Runs in the loop, in the connection's greenlet, which sleeps while the claim's batch is submitted.
    """
    outcome = Code.INTERNAL_ERROR.value
    try:
        with metrics.CLAIM_SECONDS.time():
            accepted = _claim(coupon_id, query=query, body=body, token=token)
        outcome = "ACCEPTED"
    except RefusedError as refused:
        outcome = refused.code.value
        raise
    finally:
        metrics.CLAIMS.labels(outcome=outcome).inc()
    return json_reply(
        HTTPStatus.ACCEPTED,
        _ACCEPTED[language] % str(accepted.request_id).encode(),
        language,
        [("Location", f"/api/coupons/requests/{accepted.request_id}")],
    )


def _accepted_json(language: Language) -> bytes:
    body = {"success": True, "message": messages.accepted(language), "requestId": "%s"}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_ACCEPTED: Final[dict[Language, bytes]] = {"ko": _accepted_json("ko"), "en": _accepted_json("en")}


def _claim(coupon_id: int, *, query: str, body: bytes, token: str) -> Accepted:
    user_id = _user_id(query, body)
    _refuse_malformed(body)
    if not identity.is_proven(user_id, token=token):
        raise RefusedError(Code.IDENTITY_NOT_PROVEN, detail=identity.HEADER)
    # Version 7: ids that sort by time keep the index of the outcomes small and warm.
    claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid_utils.compat.uuid7())
    answered = batching.submit(claim)
    if isinstance(answered, Accepted):
        return answered
    raise RefusedError(answered.code, request_id=answered.request_id, coupon_id=coupon_id, user_id=user_id)


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


def _refuse_malformed(body: bytes) -> None:
    """Refuse a body that is too long or no JSON: its client relies on it, though no body is needed."""
    if len(body) > _LONGEST_BODY:
        raise RefusedError(Code.INVALID_REQUEST, detail=messages.body_too_long(_LONGEST_BODY))
    if body:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(Code.INVALID_REQUEST, detail=messages.BODY_EXPECTED) from error


class ClaimView(APIView):
    @extend_schema(
        summary="Claim a coupon",
        description="202 means that the broker holds the request: it will be decided, in its order. "
        "Ask `Location` for the result. On 503 with a `requestId` it is not certain whether the request "
        "was accepted: ask for that request's status.",
        request=None,
        parameters=[
            OpenApiParameter("userId", OpenApiTypes.INT64, OpenApiParameter.QUERY, required=True),
            OpenApiParameter(
                "Location",
                OpenApiTypes.URI_REF,
                OpenApiParameter.HEADER,
                response=[202],
                description="The request's status.",
            ),
        ],
        responses={
            202: AcceptedSerializer,
            400: _REFUSED,
            403: _REFUSED,
            404: _REFUSED,
            409: _REFUSED,
            503: _REFUSED,
        },
    )
    def post(self, request: Request, coupon_id: int) -> HttpResponse:
        reply = answer(
            coupon_id,
            query=request.META.get("QUERY_STRING", ""),
            body=request.body,
            token=request.headers.get(identity.HEADER, ""),
            language=messages.language(),
        )
        return HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
