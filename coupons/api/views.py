"""A view parses, calls one function, renders."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coupons import selectors
from coupons.api import callers, lookups, messages, security
from coupons.api.openapi import parameters
from coupons.api.openapi.describing import described
from coupons.api.openapi.document import document
from coupons.api.serializers import CouponSerializer, QueueSizeSerializer, UserCouponsSerializer
from coupons.errors import RefusedError
from coupons.models import Coupon
from coupons.outcomes import Code
from coupons.tickets.office_keys import Scope


class CouponView(APIView):
    @described(
        "getCoupon",
        answers=CouponSerializer,
        parameters=[parameters.COUPON_ID],
        refuses=[Code.COUPON_NOT_FOUND],
    )
    def get(self, request: Request, coupon_id: int) -> Response:
        coupon = Coupon.objects.filter(pk=coupon_id, is_rehearsal=False).first()
        if coupon is None:
            raise RefusedError(Code.COUPON_NOT_FOUND, coupon_id=coupon_id)
        return Response(CouponSerializer(coupon).data)


class RequestStatusView(APIView):
    @described(
        "getRequest",
        answers=OpenApiResponse({"$ref": "#/components/schemas/RequestStatus"}),
        parameters=[parameters.REQUEST_ID],
        refuses=[*callers.REFUSES_READ, Code.REQUEST_NOT_FOUND, Code.BROKER_UNAVAILABLE],
        security=security.REQUESTS,
    )
    def get(self, request: Request, request_id: UUID) -> Response:
        credentials = callers.credentials_in(request)
        return Response(lookups.request_status(request_id, messages.language(), credentials))


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI document, in the language of ``?lang=``, else in that of the answer's messages."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        name = self._get_filename(request, None)  # type: ignore[no-untyped-call]
        asked = request.GET.get("lang")
        language = messages.language_of(asked) if asked else messages.language()
        headers = {"Content-Disposition": f'inline; filename="{name}"', "Content-Language": language}
        return Response(document(language), headers=headers)


class DocsView(SpectacularSwaggerView):
    """The documentation's page. Its template is for the page alone; other answers here are JSON."""

    def get_renderers(self) -> list[BaseRenderer]:
        if self.request.method in ("GET", "HEAD"):
            return list(super().get_renderers())
        return [JSONRenderer()]


class UserCouponsView(APIView):
    @described(
        "getUserCoupons",
        answers=UserCouponsSerializer,
        parameters=[parameters.USER_ID],
        refuses=[*callers.REFUSES_READ, Code.TICKET_OF_ANOTHER_USER, Code.IDENTITY_NOT_PROVEN],
        security=security.USERS,
    )
    def get(self, request: Request, user_id: int) -> Response:
        credentials = callers.credentials_in(request)
        if callers.is_old(credentials):
            callers.warn()
            self.headers.update([callers.DEPRECATION])
        caller = callers.reader(credentials, Scope.USERS_READ, what=f"the coupons of user {user_id}")
        if not caller.may(user_id):  # before any row is looked for
            raise callers.refusal_of(caller)
        coupons = selectors.coupons_of_user(user_id)
        return Response(UserCouponsSerializer({"userCoupons": coupons}).data)


class QueueSizeView(APIView):
    @described(
        "getQueueSize",
        answers=QueueSizeSerializer,
        parameters=[parameters.COUPON_ID],
        refuses=[Code.COUPON_NOT_FOUND, Code.BROKER_UNAVAILABLE],
    )
    def get(self, request: Request, coupon_id: int) -> Response:
        return Response(lookups.queue_size(coupon_id, messages.language()))
