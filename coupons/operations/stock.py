"""Add stock to a coupon or take some away, by an amount, so that coupons issued meanwhile still count."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from coupons.models import Coupon
from runtime.operator_language import say

MOST: Final = 2**63 - 1


class StockOutOfRange(ValueError):
    """The amount would leave a negative stock, or more than the column holds; nothing was changed."""

    def __init__(self, *, stock: int, amount: int) -> None:
        super().__init__(
            say("the stock is {stock} and cannot be changed by {amount:+d}", stock=stock, amount=amount)
        )
        self.stock = stock
        self.amount = amount


def refuse_out_of_range(*, stock: int, amount: int) -> None:
    """Raise StockOutOfRange if ``stock + amount`` cannot be a stock."""
    if not 0 <= stock + amount <= MOST:
        raise StockOutOfRange(stock=stock, amount=amount)


def change_stock(*, coupon_id: int, amount: int) -> int:
    """Change the stock by a signed amount; returns the new stock.

    One conditional UPDATE, so that the change is exact beside consumers and other changes. The gate
    in Redis follows by itself, because it counts against stock + issued_count of the row. Raises
    StockOutOfRange, Coupon.DoesNotExist.
    """
    with transaction.atomic():
        changed = Coupon.objects.filter(
            # stock + amount within 0 and MOST, written so that no sum can overflow
            pk=coupon_id,
            stock__gte=max(0, -amount),
            stock__lte=MOST - max(0, amount),
        ).update(stock=F("stock") + amount, updated_at=timezone.now())
        stock = Coupon.objects.values_list("stock", flat=True).get(pk=coupon_id)
    if not changed:
        raise StockOutOfRange(stock=stock, amount=amount)
    return stock
