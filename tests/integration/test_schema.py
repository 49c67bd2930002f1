"""The tables: the SQL of docs/api.md runs unchanged, and the database itself refuses what must never be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, User, UserCoupon
from coupons.outcomes import Decision
from tests.factories import make_coupon, make_requests, make_users

pytestmark = pytest.mark.django_db

PROMISED = """
INSERT INTO user (user_id, name, created_at, updated_at) VALUES (1, 'testuser1', NOW(), NOW());
INSERT INTO point (user_id, balance, created_at, updated_at) VALUES (1, 100000, NOW(), NOW());
INSERT INTO coupon (coupon_id, description, discount_amount, stock, coupon_status, created_at, updated_at)
  VALUES (1, '신규가입 할인쿠폰', 5000, 100, 'OPENED', NOW(), NOW());
SELECT coupon_id, stock FROM coupon WHERE coupon_id = 1;
SELECT * FROM user_coupon WHERE coupon_id = 1;
UPDATE coupon SET stock = 0 WHERE coupon_id = 1;
"""


def sql(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []


def refused(statement: str) -> None:
    with pytest.raises((IntegrityError, DatabaseError)), transaction.atomic():
        sql(statement)


@pytest.fixture
def _rows_of_the_promised_sql() -> None:
    """SQLite has no NOW(): its word for it is CURRENT_TIMESTAMP. MySQL and MariaDB get the text as it is."""
    User.objects.filter(pk=1).delete()
    text = PROMISED if connection.vendor == "mysql" else PROMISED.replace("NOW()", "CURRENT_TIMESTAMP")
    for statement in text.split(";")[:3]:
        sql(statement)


@pytest.mark.usefixtures("_rows_of_the_promised_sql")
def test_the_promised_sql_runs_and_the_application_works_with_its_rows() -> None:
    *_, read, claims, sell_out, _ = PROMISED.split(";")
    assert sql(read) == [(1, 100)]
    assert sql(claims) == []

    issued = issue_coupons(make_requests(1, [1]))

    assert [allocation.decision for allocation in issued.allocations] == [Decision.ISSUED]
    assert sql(read) == [(1, 99)]
    assert len(sql(claims)) == 1
    sql(sell_out)
    assert sql(read) == [(1, 0)]
    coupon = Coupon.objects.get(pk=1)
    assert (coupon.description, coupon.issued_count, coupon.opens_at) == ("신규가입 할인쿠폰", 1, None)
    assert User.objects.get(pk=1).point.balance == 100_000


def test_the_defaults_are_the_databases_own() -> None:
    sql("INSERT INTO user (user_id, name) VALUES (7, 'u')")
    sql("INSERT INTO point (user_id) VALUES (7)")
    sql("INSERT INTO coupon (coupon_id, description, discount_amount, stock) VALUES (7, 'c', 1, 1)")
    sql("INSERT INTO user_coupon (user_id, coupon_id) VALUES (7, 7)")

    assert sql("SELECT balance FROM point WHERE user_id = 7") == [(0,)]
    assert sql("SELECT coupon_status, issued_count, opens_at, closes_at FROM coupon WHERE coupon_id = 7") == [
        ("OPENED", 0, None, None)
    ]
    assert sql("SELECT status, used_at FROM user_coupon WHERE user_id = 7") == [("ISSUED", None)]
    for table in ("user", "point", "coupon", "user_coupon"):
        columns = "created_at, updated_at" + (", issued_at" if table == "user_coupon" else "")
        [moments] = sql(f"SELECT {columns} FROM {table}")
        assert None not in moments


def test_ids_are_given_by_the_database() -> None:
    sql("INSERT INTO user (name) VALUES ('first')")
    sql("INSERT INTO user (name) VALUES ('second')")

    first, second = sql("SELECT user_id FROM user ORDER BY user_id")
    assert second > first


def test_stock_is_never_negative() -> None:
    coupon = make_coupon(stock=1)

    refused(f"UPDATE coupon SET stock = -1 WHERE coupon_id = {coupon.pk}")
    refused(f"UPDATE coupon SET stock = stock - 2 WHERE coupon_id = {coupon.pk}")
    refused("INSERT INTO coupon (description, discount_amount, stock) VALUES ('c', 1, -1)")


@pytest.mark.parametrize("amount", [0, -1])
def test_a_discount_is_positive(amount: int) -> None:
    refused(f"INSERT INTO coupon (description, discount_amount, stock) VALUES ('c', {amount}, 1)")


def test_a_coupon_opens_before_it_closes() -> None:
    refused(
        "INSERT INTO coupon (description, discount_amount, stock, opens_at, closes_at) "
        "VALUES ('c', 1, 1, '2030-01-02 00:00:00', '2030-01-01 00:00:00')"
    )


def test_a_balance_is_never_negative() -> None:
    [user] = make_users(1)

    refused(f"INSERT INTO point (user_id, balance) VALUES ({user}, -1)")


def test_a_user_has_a_coupon_once() -> None:
    coupon, users = make_coupon(), make_users(2)
    insert = "INSERT INTO user_coupon (user_id, coupon_id) VALUES ({}, {})"
    sql(insert.format(users[0], coupon.pk))

    refused(insert.format(users[0], coupon.pk))

    sql(insert.format(users[1], coupon.pk))
    assert UserCoupon.objects.count() == 2


def test_a_request_has_one_outcome() -> None:
    coupon, users = make_coupon(), make_users(1)
    issue_coupons(make_requests(coupon.pk, users))

    refused(
        "INSERT INTO coupon_issue_outcome (request_id, status, requested_at) "
        "SELECT request_id, 'REJECTED', requested_at FROM coupon_issue_outcome"
    )


@pytest.mark.django_db(transaction=True)
def test_a_coupon_belongs_to_a_user_and_an_event_that_exist() -> None:
    coupon, [user] = make_coupon(), make_users(1)

    refused(f"INSERT INTO user_coupon (user_id, coupon_id) VALUES (987654, {coupon.pk})")
    refused(f"INSERT INTO user_coupon (user_id, coupon_id) VALUES ({user}, 987654)")
    sql(f"INSERT INTO user_coupon (user_id, coupon_id) VALUES ({user}, {coupon.pk})")
    refused(f"DELETE FROM user WHERE user_id = {user}")
    refused(f"DELETE FROM coupon WHERE coupon_id = {coupon.pk}")
