"""The JSON of every answer: camelCase, times in Unix milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from coupons.eventlog.events import MAX_ID
from coupons.outcomes import RequestStatus


class Id(serializers.IntegerField):
    """A whole number from 1 to 2^63 - 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=MAX_ID, **options)


class Count(serializers.IntegerField):
    """A whole number from 0 to 2^63 - 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=MAX_ID, **options)


@extend_schema_field({"type": "integer", "format": "int64"})
class EpochMilliseconds(serializers.IntegerField):
    def to_representation(self, value: datetime | int) -> int:
        return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


class CouponSerializer(serializers.Serializer[Any]):
    couponId = Id(source="coupon_id")
    description = serializers.CharField()
    discountAmount = Count(source="discount_amount")
    stock = Count()
    couponStatus = serializers.CharField(source="coupon_status")
    issuedCount = Count(source="issued_count")
    opensAt = EpochMilliseconds(source="opens_at", allow_null=True)
    closesAt = EpochMilliseconds(source="closes_at", allow_null=True)
    eligibleOnly = serializers.BooleanField(source="eligible_only")


class AcceptedSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    message = serializers.CharField()
    requestId = serializers.UUIDField()


class RequestStatusSerializer(serializers.Serializer[Any]):
    requestId = serializers.UUIDField(source="request_id")
    couponId = Id(source="coupon_id", allow_null=True)
    userId = Id(source="user_id", allow_null=True)
    status = serializers.ChoiceField(choices=[status.value for status in RequestStatus])
    reason = serializers.CharField(allow_null=True)
    userCouponId = Id(source="user_coupon_id", allow_null=True)
    rank = serializers.IntegerField(allow_null=True)
    requestedAt = EpochMilliseconds(source="requested_at_ms", allow_null=True)
    processedAt = EpochMilliseconds(source="processed_at_ms", allow_null=True)
    partition = serializers.IntegerField(allow_null=True)
    offset = serializers.IntegerField(allow_null=True)


class PendingStatusSerializer(RequestStatusSerializer):
    position = serializers.IntegerField(allow_null=True)
    etaSeconds = serializers.FloatField(source="eta_s", allow_null=True)


class UserCouponSerializer(serializers.Serializer[Any]):
    userCouponId = Id(source="user_coupon_id")
    userId = Id(source="user_id")
    couponId = Id(source="coupon_id")
    status = serializers.CharField()
    issuedAt = EpochMilliseconds(source="issued_at")
    usedAt = EpochMilliseconds(source="used_at", allow_null=True)


class UserCouponsSerializer(serializers.Serializer[Any]):
    userCoupons = UserCouponSerializer(many=True)


class QueueSizeSerializer(serializers.Serializer[Any]):
    couponId = Id()
    queueSize = Count()
    message = serializers.CharField()
