"""Take a database constraint away for a moment, to show that something else notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from coupons.models import UserCoupon

_NAME = "user_coupon_once_per_user"


@contextmanager
def without_unique_claims() -> Iterator[None]:
    """UNIQUE(coupon_id, user_id) is gone within the block; duplicates must be gone at its end."""
    whole = UserCoupon._meta.constraints
    if connection.vendor == "sqlite":
        UserCoupon._meta.constraints = []
        with connection.schema_editor() as editor:
            editor._remake_table(UserCoupon)  # type: ignore[attr-defined]
    else:
        with connection.cursor() as cursor:  # the foreign key needs an index of its own then
            cursor.execute("CREATE INDEX for_the_foreign_key ON user_coupon (coupon_id)")
            cursor.execute(f"ALTER TABLE user_coupon DROP INDEX {_NAME}")
    try:
        yield
    finally:
        UserCoupon._meta.constraints = whole
        if connection.vendor == "sqlite":
            with connection.schema_editor() as editor:
                editor._remake_table(UserCoupon)  # type: ignore[attr-defined]
        else:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE user_coupon ADD CONSTRAINT {_NAME} UNIQUE (coupon_id, user_id)")
                cursor.execute("DROP INDEX for_the_foreign_key ON user_coupon")
