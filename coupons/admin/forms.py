"""The admin's forms."""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator

from coupons.admin.lists import LiveForm
from coupons.admin.names import text
from coupons.models import UserCouponStatus
from coupons.operations import stock


def out_of_range(error: stock.StockOutOfRange) -> str:
    """The admin's message when a stock cannot be changed by that amount."""
    if error.amount < 0:
        message = text(
            en="Only {stock} left: {taken} cannot be taken. The stock was not changed.",
            ko="재고가 {stock}개 남아 있어 {taken}개를 뺄 수 없습니다. 재고는 바뀌지 않았습니다.",
        )
    else:
        message = text(
            en="{stock} are left: a stock cannot hold {amount} more. The stock was not changed.",
            ko="재고가 {stock}개 남아 있어 {amount}개를 더할 수 없습니다. 재고는 바뀌지 않았습니다.",
        )
    return message.format(stock=error.stock, amount=error.amount, taken=-error.amount)


class CouponForm(LiveForm):
    """A coupon's columns, with its constraints as messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, least in (("discount_amount", 1), ("stock", 0)):
            if name in self.fields:
                self.fields[name].validators.append(MinValueValidator(least))
                self.fields[name].widget.attrs["min"] = least

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        opens_at, closes_at = cleaned.get("opens_at"), cleaned.get("closes_at")
        if opens_at is not None and closes_at is not None and opens_at >= closes_at:
            self.add_error(
                "closes_at",
                text(
                    en="It must close after it opens.",
                    ko="종료 시각은 시작 시각보다 늦어야 합니다.",
                ),
            )
        return cleaned


class PointForm(LiveForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "balance" in self.fields:
            self.fields["balance"].validators.append(MinValueValidator(0))
            self.fields["balance"].widget.attrs["min"] = 0


class UserCouponForm(LiveForm):
    """Whether a coupon was used, and when."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        is_used = cleaned.get("status") == UserCouponStatus.USED
        if "used_at" in cleaned and is_used != (cleaned["used_at"] is not None):
            self.add_error(
                "used_at",
                text(en="A used coupon has a time of use.", ko="사용된 쿠폰에는 사용 시각이 필요합니다.")
                if is_used
                else text(
                    en="Only a used coupon has a time of use.",
                    ko="사용 시각은 사용된 쿠폰에만 있습니다.",
                ),
            )
        return cleaned
