"""Claims at the same moment, on a real gate: one slot for one user, no more slots than stock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django_redis import get_redis_connection
from redis.connection import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.claims import submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Answer, submit
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog
from coupons.eventlog.delivery import Acknowledged, Receipt, Record
from coupons.eventlog.events import IssueRequest, decode
from coupons.eventlog.place import NextOffset, Place
from coupons.gate.admission import (
    gate,
)
from coupons.issuing.deciding import issue_coupons
from coupons.models import UserCoupon
from coupons.outcomes import Code
from tests.factories import make_coupon, make_users
from tests.in_parts import Publisher

pytestmark = pytest.mark.django_db(transaction=True)


class Log(Publisher):
    """A producer and the log behind it, in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: list[IssueRequest] = []

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        receipts: list[Receipt] = []
        with self._lock:
            for record in records:
                offset = len(self.requests)
                self.requests.append(IssueRequest(event=decode(record.value), place=Place(0, offset)))
                receipts.append(Acknowledged(place=Place(0, offset)))
        return receipts


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(submitting, "event_producer", lambda: log)
    monkeypatch.setattr(
        backlog, "read", lambda **_: Backlog(requests=list(log.requests), next_to_decide={0: NextOffset(0)})
    )
    return log


def at_once(coupon_id: int, users: Sequence[int], *, threads: int = 16) -> Counter[Code | None]:
    """All claim, as many at a time as there are threads; how often each code was told, None for yes."""
    start = threading.Barrier(threads)

    def claim(users: Sequence[int]) -> list[Answer]:
        start.wait(10)
        claims = [Claim(coupon_id=coupon_id, user_id=user, request_id=uuid7()) for user in users]
        answers = [answer for claim in claims for answer in submit([claim])]
        connection.close()
        return answers

    with ThreadPoolExecutor(threads) as crowd:
        groups = crowd.map(claim, [users[n::threads] for n in range(threads)])
    return Counter(
        answer.code if isinstance(answer, Refused) else None for group in groups for answer in group
    )


def test_one_user_many_times_at_once_is_accepted_once(log: Log) -> None:
    coupon, [user] = make_coupon(stock=50), make_users(1)

    told = at_once(coupon.pk, [user] * 64)

    assert told == {None: 1, Code.ALREADY_REQUESTED: 63}
    assert len(log.requests) == 1


def test_a_crowd_is_told_yes_as_often_as_there_is_stock(log: Log) -> None:
    coupon, users = make_coupon(stock=20), make_users(160)

    assert at_once(coupon.pk, users) == {None: 20, Code.OUT_OF_STOCK: 140}
    assert gate.reserved(coupon.pk) == 20


def test_a_flush_in_the_middle_of_a_crowd_tells_yes_to_a_handful_more_and_issues_no_more(log: Log) -> None:
    coupon, users = make_coupon(stock=20), make_users(160)
    flush = threading.Timer(0.05, get_redis_connection("default").flushdb)
    flush.start()

    told = at_once(coupon.pk, users)
    flush.join()

    # Those between reserving and publishing at that moment are not counted: one a thread at most.
    assert 20 <= told[None] <= 20 + 16
    issue_coupons(log.requests)
    assert UserCoupon.objects.filter(coupon=coupon).count() == 20


def test_without_redis_one_user_many_times_at_once_gets_one_coupon(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pool: ConnectionPool, *args: object, **kwargs: object) -> None:
        raise RedisConnectionError("away, for the test")

    coupon, [user] = make_coupon(stock=50), make_users(1)

    with monkeypatch.context() as away:
        away.setattr(ConnectionPool, "get_connection", refuse)
        told = at_once(coupon.pk, [user] * 32)
    issue_coupons(log.requests)

    assert told[None] == len(log.requests) >= 1
    assert UserCoupon.objects.filter(user_id=user).count() == 1
