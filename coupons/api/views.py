"""A view parses, calls one service, renders."""

from __future__ import annotations

from functools import cache
from typing import Any, Final
from uuid import UUID

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiResponse, extend_schema
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from coupons import selectors
from coupons.api import lookups, messages
from coupons.api.serializers import (
    CouponSerializer,
    PendingStatusSerializer,
    QueueSizeSerializer,
    RefusalSerializer,
    UserCouponsSerializer,
)
from coupons.errors import RefusedError
from coupons.models import Coupon
from coupons.outcomes import Code

_REFUSED: Final = OpenApiResponse(RefusalSerializer, description="A refusal; `code` says why.")


class CouponView(APIView):
    @extend_schema(summary="A coupon", responses={200: CouponSerializer, 404: _REFUSED})
    def get(self, request: Request, coupon_id: int) -> Response:
        coupon = Coupon.objects.filter(pk=coupon_id).first()
        if coupon is None:
            raise RefusedError(Code.COUPON_NOT_FOUND, coupon_id=coupon_id)
        return Response(CouponSerializer(coupon).data)


class RequestStatusView(APIView):
    @extend_schema(
        summary="What became of a request",
        responses={200: PendingStatusSerializer, 404: _REFUSED, 503: _REFUSED},
    )
    def get(self, request: Request, request_id: UUID) -> Response:
        return Response(lookups.request_status(request_id, messages.language()))


class SchemaView(SpectacularJSONAPIView):
    """The OpenAPI document, made once, because making it takes the interpreter from claims."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        name = self._get_filename(request, None)  # type: ignore[no-untyped-call]
        return Response(_document(), headers={"Content-Disposition": f'inline; filename="{name}"'})


@cache
def _document() -> Any:
    return SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]


class DocsView(SpectacularSwaggerView):
    """The documentation's page. Its template is for the page alone; other answers here are JSON."""

    def get_renderers(self) -> list[BaseRenderer]:
        if self.request.method in ("GET", "HEAD"):
            return list(super().get_renderers())
        return [JSONRenderer()]


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
        return Response(lookups.queue_size(coupon_id, messages.language()))
