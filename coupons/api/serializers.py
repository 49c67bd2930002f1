"""The JSON of every answer: camelCase, times in Unix milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rest_framework import serializers

from coupons.outcomes import Code, RequestStatus


class EpochMilliseconds(serializers.IntegerField):
    def to_representation(self, value: datetime | int) -> int:
        return int(value.timestamp() * 1000) if isinstance(value, datetime) else value


class CouponSerializer(serializers.Serializer[Any]):
    couponId = serializers.IntegerField(source="coupon_id")
    description = serializers.CharField()
    discountAmount = serializers.IntegerField(source="discount_amount")
    stock = serializers.IntegerField()
    couponStatus = serializers.CharField(source="coupon_status")
    issuedCount = serializers.IntegerField(source="issued_count")
    opensAt = EpochMilliseconds(source="opens_at", allow_null=True)
    closesAt = EpochMilliseconds(source="closes_at", allow_null=True)


class AcceptedSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField(default=True)
    message = serializers.CharField()
    requestId = serializers.UUIDField()


class RefusalSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField(default=False)
    code = serializers.ChoiceField(choices=[code.value for code in Code])
    message = serializers.CharField()
    requestId = serializers.CharField(
        allow_blank=True, help_text="The request whose result answers the question, or empty."
    )


class RequestStatusSerializer(serializers.Serializer[Any]):
    requestId = serializers.UUIDField(source="request_id")
    couponId = serializers.IntegerField(source="coupon_id", allow_null=True)
    userId = serializers.IntegerField(source="user_id", allow_null=True)
    status = serializers.ChoiceField(choices=[status.value for status in RequestStatus])
    reason = serializers.CharField(allow_null=True)
    userCouponId = serializers.IntegerField(source="user_coupon_id", allow_null=True)
    rank = serializers.IntegerField(allow_null=True)
    requestedAt = EpochMilliseconds(source="requested_at_ms", allow_null=True)
    processedAt = EpochMilliseconds(source="processed_at_ms", allow_null=True)
    partition = serializers.IntegerField(allow_null=True)
    offset = serializers.IntegerField(allow_null=True)


class PendingStatusSerializer(RequestStatusSerializer):
    position = serializers.IntegerField(
        allow_null=True, help_text="Events ahead of it in its partition; null if not known."
    )
    etaSeconds = serializers.FloatField(source="eta_s", allow_null=True)


class UserCouponSerializer(serializers.Serializer[Any]):
    userCouponId = serializers.IntegerField(source="user_coupon_id")
    userId = serializers.IntegerField(source="user_id")
    couponId = serializers.IntegerField(source="coupon_id")
    status = serializers.CharField()
    issuedAt = EpochMilliseconds(source="issued_at")
    usedAt = EpochMilliseconds(source="used_at", allow_null=True)


class UserCouponsSerializer(serializers.Serializer[Any]):
    userCoupons = UserCouponSerializer(many=True)


class QueueSizeSerializer(serializers.Serializer[Any]):
    couponId = serializers.IntegerField()
    queueSize = serializers.IntegerField()
    message = serializers.CharField()
