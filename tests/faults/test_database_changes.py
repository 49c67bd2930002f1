"""Changes made straight in the database are honoured by new requests within two seconds."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from coupons.models import Coupon, UserCoupon
from tests.factories import make_coupon, make_users
from tests.system import System, eventually

HONOURED_S = 2.0


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def claim_all(
    running: System, coupon: Coupon, users: list[int], *, at_once: int = 20
) -> Counter[tuple[int, str | None]]:
    answers = running.claim_all(coupon.pk, users, at_once=at_once)
    accepted = [answer.body["requestId"] for answer in answers.values() if answer.status == 202]
    statuses = running.wait_decided(accepted)
    assert {status["status"] for status in statuses} <= {"ISSUED"}
    return Counter((answer.status, answer.code) for answer in answers.values())


def test_a_closed_coupon_is_closed_within_two_seconds_and_opens_again(running: System) -> None:
    coupon, users = make_coupon(), make_users(60)
    assert claim_all(running, coupon, users[:20]) == {(202, None): 20}

    sql(f"UPDATE coupon SET coupon_status = 'CLOSED' WHERE coupon_id = {coupon.pk}")
    time.sleep(HONOURED_S)
    assert claim_all(running, coupon, users[20:40]) == {(409, "COUPON_CLOSED"): 20}

    sql(f"UPDATE coupon SET coupon_status = 'OPENED' WHERE coupon_id = {coupon.pk}")
    time.sleep(HONOURED_S)
    assert claim_all(running, coupon, users[40:]) == {(202, None): 20}


def test_stock_taken_away_and_given_back_is_honoured_exactly(running: System) -> None:
    coupon, users = make_coupon(stock=50), make_users(70)
    assert claim_all(running, coupon, users[:10]) == {(202, None): 10}

    sql(f"UPDATE coupon SET stock = 0 WHERE coupon_id = {coupon.pk}")
    time.sleep(HONOURED_S)
    assert claim_all(running, coupon, users[10:30]) == {(409, "OUT_OF_STOCK"): 20}

    sql(f"UPDATE coupon SET stock = 10 WHERE coupon_id = {coupon.pk}")
    time.sleep(HONOURED_S)
    assert claim_all(running, coupon, users[30:]) == {(202, None): 10, (409, "OUT_OF_STOCK"): 30}
    coupon.refresh_from_db()
    assert (coupon.stock, coupon.issued_count) == (0, 20)


def test_a_coupon_that_opens_later_opens_by_itself(running: System) -> None:
    coupon, users = make_coupon(opens_at=timezone.now() + timedelta(seconds=5)), make_users(20)
    assert running.claim(coupon.pk, users[0]).code == "COUPON_CLOSED"

    eventually(lambda: running.claim(coupon.pk, users[0]).status == 202, within_s=30)

    assert coupon.opens_at is not None
    assert timezone.now() >= coupon.opens_at


def test_a_coupon_made_anew_under_its_old_id_is_a_new_one(running: System) -> None:
    coupon, users = make_coupon(stock=1), make_users(3)
    assert claim_all(running, coupon, users[:1]) == {(202, None): 1}
    assert running.claim(coupon.pk, users[1]).code == "OUT_OF_STOCK"

    with transaction.atomic():
        UserCoupon.objects.filter(coupon=coupon).delete()
        Coupon.objects.filter(pk=coupon.pk).delete()
        Coupon.objects.create(coupon_id=coupon.pk, description="new", discount_amount=1, stock=2)
    time.sleep(HONOURED_S)

    told = claim_all(running, coupon, users, at_once=1)

    assert told == {(202, None): 2, (409, "OUT_OF_STOCK"): 1}


def test_a_row_that_somebody_holds_is_waited_for(running: System) -> None:
    coupon, users = make_coupon(stock=5), make_users(8)
    with transaction.atomic():
        # On SQLite it is the whole database that is held.
        Coupon.objects.select_for_update().get(pk=coupon.pk)
        answers = running.claim_all(coupon.pk, users)
        accepted = [answer.body["requestId"] for answer in answers.values() if answer.status == 202]
        time.sleep(1)
        assert not UserCoupon.objects.filter(coupon=coupon).exists()

    statuses = running.wait_decided(accepted)

    assert [status["status"] for status in statuses] == ["ISSUED"] * 5
    assert len(accepted) == 5
