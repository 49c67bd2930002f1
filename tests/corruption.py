"""Take a database constraint away for a moment, to show that something else notices.

SQLite, MariaDB and MySQL each have a way of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from coupons.models import Coupon, UserCoupon

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


@contextmanager
def negative_stock(coupon: Coupon) -> Iterator[None]:
    """A coupon whose stock is below nothing, which the check on the column would refuse."""
    off, on = _CHECK_SWITCHES[_server()]
    with connection.cursor() as cursor:
        cursor.execute(off)
        try:
            cursor.execute("UPDATE coupon SET stock = -1 WHERE coupon_id = %s", [coupon.pk])
            yield
        finally:
            cursor.execute("UPDATE coupon SET stock = %s WHERE coupon_id = %s", [coupon.stock, coupon.pk])
            cursor.execute(on)


_CHECK_SWITCHES = {
    "sqlite": ("PRAGMA ignore_check_constraints = ON", "PRAGMA ignore_check_constraints = OFF"),
    "mariadb": ("SET check_constraint_checks = 0", "SET check_constraint_checks = 1"),
    # MySQL cannot look away for one session, and looks at every row when it is to look again.
    "mysql": (
        "ALTER TABLE coupon ALTER CHECK coupon_stock_not_negative NOT ENFORCED",
        "ALTER TABLE coupon ALTER CHECK coupon_stock_not_negative ENFORCED",
    ),
}


def _server() -> str:
    """Django's vendor for MariaDB is MySQL."""
    is_mariadb = connection.vendor == "mysql" and getattr(connection, "mysql_is_mariadb", False)
    return "mariadb" if is_mariadb else connection.vendor
