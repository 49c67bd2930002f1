"""A view parses, calls one service, renders."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Final
from uuid import UUID

import uuid_utils.compat
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coupons import identity, queue, requesting, selectors
from coupons.admission import Claim
from coupons.api import messages
from coupons.api.serializers import (
    AcceptedSerializer,
    CouponSerializer,
    PendingStatusSerializer,
    QueueSizeSerializer,
    RefusalSerializer,
    RequestStatusSerializer,
    UserCouponsSerializer,
)
from coupons.errors import RefusedError
from coupons.events import MAX_ID
from coupons.models import Coupon
from coupons.outcomes import Code, RequestStatus
from coupons.request_status import status_of
from coupons.requesting import Accepted
from couponsite import metrics

_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)
_REFUSED: Final = OpenApiResponse(RefusalSerializer, description="A refusal; `code` says why.")


class CouponView(APIView):
    @extend_schema(summary="A coupon", responses={200: CouponSerializer, 404: _REFUSED})
    def get(self, request: Request, coupon_id: int) -> Response:
        coupon = Coupon.objects.filter(pk=coupon_id).first()
        if coupon is None:
            raise RefusedError(Code.COUPON_NOT_FOUND, coupon_id=coupon_id)
        return Response(CouponSerializer(coupon).data)


class IssueView(APIView):
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
    def post(self, request: Request, coupon_id: int) -> Response:
        outcome = Code.INTERNAL_ERROR.value
        try:
            with metrics.CLAIM_SECONDS.time():
                answer = self._claim(request, coupon_id)
            outcome = "ACCEPTED"
        except RefusedError as refused:
            outcome = refused.code.value
            raise
        finally:
            metrics.CLAIMS.labels(outcome=outcome).inc()
        return Response(
            {"success": True, "message": messages.accepted(), "requestId": str(answer.request_id)},
            status=HTTPStatus.ACCEPTED,
            headers={"Location": f"/api/coupons/requests/{answer.request_id}"},
        )

    def _claim(self, request: Request, coupon_id: int) -> Accepted:
        user_id = _user_id(request)
        _refuse_malformed_body(request)
        if not identity.is_proven(user_id, token=request.headers.get(identity.HEADER, "")):
            raise RefusedError(Code.IDENTITY_NOT_PROVEN, detail=identity.HEADER)
        # Version 7: ids that sort by time keep the outcome table's index small and warm.
        claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid_utils.compat.uuid7())
        [answer] = requesting.submit([claim])
        if isinstance(answer, Accepted):
            return answer
        raise RefusedError(answer.code, request_id=answer.request_id, coupon_id=coupon_id, user_id=user_id)


class RequestStatusView(APIView):
    @extend_schema(
        summary="What became of a request",
        responses={200: PendingStatusSerializer, 404: _REFUSED, 503: _REFUSED},
    )
    def get(self, request: Request, request_id: UUID) -> Response:
        report = status_of(request_id)
        if report is None:
            raise RefusedError(Code.REQUEST_NOT_FOUND, asked_for=request_id)
        is_pending = report.status is RequestStatus.PENDING
        serializer = PendingStatusSerializer if is_pending else RequestStatusSerializer
        return Response(serializer(report).data)


class UserCouponsView(APIView):
    @extend_schema(summary="A user's coupons, newest first", responses={200: UserCouponsSerializer})
    def get(self, request: Request, user_id: int) -> Response:
        coupons = selectors.coupons_of_user(user_id)
        return Response(UserCouponsSerializer({"userCoupons": coupons}).data)


class QueueSizeView(APIView):
    @extend_schema(
        summary="Requests accepted and not yet decided",
        responses={200: QueueSizeSerializer, 404: _REFUSED, 503: _REFUSED},
    )
    def get(self, request: Request, coupon_id: int) -> Response:
        size = queue.size(coupon_id)
        if size is None:
            raise RefusedError(Code.COUPON_NOT_FOUND, coupon_id=coupon_id)
        return Response(
            {"couponId": coupon_id, "queueSize": size, "message": messages.queue_size(coupon_id, size)}
        )


def _user_id(request: Request) -> int:
    """The one userId of the query string. Raises RefusedError."""
    values = request.query_params.getlist("userId")
    if len(values) == 1 and _DIGITS.fullmatch(values[0]) and 1 <= int(values[0]) <= MAX_ID:
        return int(values[0])
    raise RefusedError(Code.INVALID_REQUEST, detail=messages.USER_ID_EXPECTED[messages.language()])


def _refuse_malformed_body(request: Request) -> None:
    """No body is needed. One that is there says something the client believes in: it must be readable."""
    if body := request.body:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as error:
            detail = messages.BODY_EXPECTED[messages.language()]
            raise RefusedError(Code.INVALID_REQUEST, detail=detail) from error
