"""A group asks the database once and Redis once; unknown coupons, old rows, cold gates cost nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from django_redis import get_redis_connection
from msgspec import structs
from pytest_django import DjangoAssertNumQueries
from redis.connection import ConnectionPool
from uuid_utils.compat import uuid7

from coupons import coupon_cache
from coupons.claim import Claim
from coupons.claims import screening, submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Answer, submit
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog
from coupons.eventlog.delivery import Acknowledged, Receipt, Record
from coupons.eventlog.events import IssueRequest, decode
from coupons.eventlog.place import NextOffset, Place
from coupons.gate import loading
from coupons.gate.admission import (
    Decisions,
    gate,
)
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, UserCoupon
from coupons.outcomes import Code, Decision
from tests.factories import make_coupon, make_requests, make_users
from tests.in_parts import Publisher

pytestmark = pytest.mark.django_db


class Log(Publisher):
    """A producer, the log behind it, and how often that was read."""

    is_down = False

    def __init__(self) -> None:
        self.requests: list[IssueRequest] = []
        self.readings = 0

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        receipts: list[Receipt] = []
        for record in records:
            offset = len(self.requests)
            self.requests.append(IssueRequest(event=decode(record.value), place=Place(0, offset)))
            receipts.append(Acknowledged(place=Place(0, offset)))
        return receipts

    def read(
        self, *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        self.readings += 1
        asked_for = [each for each in self.requests if coupon_id in (None, each.event.coupon_id)]
        return Backlog(requests=asked_for, next_to_decide={0: NextOffset(0)})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(submitting, "event_producer", lambda: log)
    monkeypatch.setattr(loading, "event_producer", lambda: log)
    monkeypatch.setattr(backlog, "read", log.read)
    return log


def claim(coupon_id: int, user_id: int) -> Claim:
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())


def told(answers: Sequence[Answer]) -> list[Code | None]:
    """The codes; None for an accepted claim."""
    return [answer.code if isinstance(answer, Refused) else None for answer in answers]


@pytest.fixture
def redis_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As long as Redis was asked often."""
    calls: list[int] = []
    get_connection: Callable[..., Any] = ConnectionPool.get_connection

    def counted(pool: ConnectionPool, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return get_connection(pool, *args, **kwargs)

    monkeypatch.setattr(ConnectionPool, "get_connection", counted)
    return calls


def test_a_group_of_several_coupons_asks_once(
    log: Log, redis_calls: list[int], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    coupons, users = [make_coupon(stock=1) for _ in range(5)], make_users(4)
    submit([claim(coupon.pk, users[0]) for coupon in coupons])
    unknown = 987_654_321
    coupon_cache.forget_all()
    wanted = [claim(pk, user) for pk in [*(c.pk for c in coupons), unknown] for user in users[1:3]]
    redis_calls.clear()

    with django_assert_num_queries(2):  # the claimants, and the coupons' rows
        first = screening.screen(wanted)
    with django_assert_num_queries(1):
        second = screening.screen([each.as_request(uuid7()) for each in wanted])

    assert len(redis_calls) == 2
    for screened in (first, second):
        codes = [refusal.code for refusal in screened.refusals.values()]
        assert codes == [*[Code.COUPON_NOT_FOUND] * 2, *[Code.OUT_OF_STOCK] * 10]


def test_rows_that_are_due_soon_are_read_with_those_that_are_due(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd that asks for a hundred coupons would read rows with every batch."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(coupon_cache, "time", clock)
    coupon_cache.forget_all()
    first, second, unasked = (make_coupon().pk for _ in range(3))
    life = settings.CONFIG.api.coupon_view_ttl_s
    for coupon_id in (unasked, first):
        coupon_cache.cached_coupon(coupon_id)
    clock.now += 0.4 * life
    coupon_cache.cached_coupon(second)
    Coupon.objects.update(stock=77)
    clock.now += 0.55 * life
    coupon_cache.cached_coupons([first, second])

    clock.now += 0.1 * life  # the first is due, the second soon, and nobody asks for the third
    with django_assert_num_queries(1) as asked:
        assert set(coupon_cache.cached_coupons([first])) == {first}
    assert f"{unasked})" not in asked.captured_queries[0]["sql"].replace(" ", "")
    clock.now += 0.9 * life
    with django_assert_num_queries(0):
        assert {each.stock for each in coupon_cache.cached_coupons([first, second]).values()} == {77}


def test_claimants_of_many_coupons_are_told_apart(log: Log) -> None:
    coupons, users = [make_coupon() for _ in range(450)], make_users(2)
    UserCoupon.objects.bulk_create(UserCoupon(coupon=each, user_id=users[0]) for each in coupons[::2])

    screened = screening.screen([claim(coupon.pk, user) for coupon in coupons for user in (*users, 987_654)])

    codes = [refusal.code for refusal in screened.refusals.values()]
    assert codes.count(Code.ALREADY_REQUESTED) == 225
    assert codes.count(Code.USER_NOT_FOUND) == 450
    assert len(screened.cold) == 675


def test_claims_that_cannot_be_published_are_refused_by_the_database_alone(
    log: Log, redis_calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is reserved that would be given back; whoever needs no broker is told as ever."""
    dead, sold_out, closed, living = (
        make_coupon(),
        make_coupon(stock=0),
        make_coupon(coupon_status="CLOSED"),
        make_coupon(),
    )
    users = make_users(2)
    monkeypatch.setattr(log, "refuses_some", True)
    monkeypatch.setattr(log, "refuses", lambda coupon_id: coupon_id != living.pk)
    UserCoupon.objects.create(coupon=dead, user_id=users[1])
    submit([claim(living.pk, users[1])])
    redis_calls.clear()

    refused = submit([claim(each.pk, users[0]) for each in (dead, sold_out, closed)])
    holder = submit([claim(dead.pk, users[1])])

    assert told(refused) == [Code.BROKER_UNAVAILABLE, Code.OUT_OF_STOCK, Code.COUPON_CLOSED]
    assert told(holder) == [Code.ALREADY_REQUESTED]
    assert redis_calls == []
    assert told(submit([claim(dead.pk, users[0]), claim(living.pk, users[0])])) == [
        Code.BROKER_UNAVAILABLE,
        None,
    ]


def test_many_cold_coupons_are_loaded_from_one_reading(log: Log, redis_calls: list[int]) -> None:
    coupons, users = [make_coupon(stock=2) for _ in range(60)], make_users(3)
    submit([claim(coupon.pk, users[0]) for coupon in coupons])
    get_redis_connection("default").flushdb()
    log.readings = 0
    redis_calls.clear()

    answers = submit([claim(coupon.pk, user) for coupon in coupons for user in users])

    assert told(answers) == [Code.ALREADY_REQUESTED, None, Code.OUT_OF_STOCK] * 60
    assert log.readings == 1
    assert len(redis_calls) < 20


def test_a_gate_that_is_lost_again_and_again_admits_nobody_while_redis_is_up(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    producer = replace(settings.CONFIG.producer, publish_timeout_ms=800)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, producer=producer))
    monkeypatch.setattr(gate, "load_each", lambda gates: [True] * len(gates))

    assert submit([claim(coupon.pk, user)]) == [Refused(code=Code.BROKER_UNAVAILABLE)]

    assert log.requests == []


def test_a_gate_that_is_lost_once_more_is_loaded_once_more(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    load_each = gate.load_each

    def load_and_lose(gates: Any) -> Any:
        loaded = load_each(gates)
        if log.readings == 1:
            get_redis_connection("default").flushdb()
        return loaded

    monkeypatch.setattr(gate, "load_each", load_and_lose)

    assert told(submit([claim(coupon.pk, user)])) == [None]
    assert log.readings == 2
    assert gate.reserved(coupon.pk) == 1


def _settle(coupon: Coupon, requests: Sequence[IssueRequest]) -> None:
    issued = issue_coupons(requests)
    snapshot = issued.coupons[coupon.pk]
    decided = [
        (allocation.request.event.claim, allocation.decision is Decision.ISSUED)
        for allocation in issued.allocations
    ]
    gate.notify(
        [
            Decisions(
                coupon_id=coupon.pk,
                epoch=snapshot.epoch,
                issued_count=snapshot.issued_count,
                decided=decided,
            )
        ]
    )


def test_a_view_from_before_the_sell_out_throws_no_gate_away(
    log: Log, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    coupon, users = make_coupon(stock=2), make_users(4)
    submit([claim(coupon.pk, user) for user in users[:2]])
    _settle(coupon, log.requests)  # the view is from before it, and has stock
    log.readings = 0

    with django_assert_num_queries(2):  # the claimants, and the row that settles the doubt
        screened = screening.screen([claim(coupon.pk, users[2])])
    with django_assert_num_queries(1):
        screening.screen([claim(coupon.pk, users[3])])

    assert [refusal.code for refusal in screened.refusals.values()] == [Code.OUT_OF_STOCK]
    assert log.readings == 0
    assert gate.issued_counts() == {coupon.pk: 2}


def test_stock_that_was_added_since_the_view_is_found_in_doubt(log: Log) -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    submit([claim(coupon.pk, users[0])])
    _settle(coupon, log.requests)
    Coupon.objects.filter(pk=coupon.pk).update(stock=1)

    assert told(submit([claim(coupon.pk, users[1])])) == [None]


def test_rows_of_an_old_primary_tell_nobody_yes_too_many(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=5), make_users(30)
    old = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert old is not None
    submit([claim(coupon.pk, user) for user in users[:5]])
    _settle(coupon, log.requests)
    log.requests.clear()
    monkeypatch.setattr(coupon_cache, "cached_coupons", lambda ids, *, fresh=False: {old.coupon_id: old})
    log.readings = 0

    answers = [told(submit([claim(coupon.pk, user)])) for user in users[5:]]

    assert answers == [[Code.OUT_OF_STOCK]] * 25
    assert log.readings == 0
    assert gate.issued_counts() == {coupon.pk: 5}


class StandingClock:
    """Stands in for ``time``: goes on when told to."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_coupons_that_do_not_exist_are_not_asked_for_again_at_once(
    log: Log, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = replace(settings.CONFIG.api, coupon_view_ttl_s=1.5)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, api=api))
    clock = StandingClock()
    monkeypatch.setattr(coupon_cache, "time", clock)
    [user] = make_users(1)
    missing = [claim(10**9 + n, user) for n in range(20)]
    with django_assert_num_queries(2):
        screening.screen(missing)
    with django_assert_num_queries(1):
        screening.screen(missing)

    coupon = make_coupon()
    Coupon.objects.filter(pk=coupon.pk).update(coupon_id=missing[0].coupon_id)
    clock.now_s += 0.2  # and not as long as a view is kept here

    assert told(submit(missing[:1])) == [None]


def test_who_asks_for_anything_does_not_push_out_what_is_real(
    log: Log, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coupon_cache, "MOST_KEPT", 50)
    monkeypatch.setattr(coupon_cache, "time", StandingClock())
    coupon = make_coupon()
    coupon_cache.cached_coupon(coupon.pk)
    asked_for = [range(10**9 + 40 * n, 10**9 + 40 * n + 40) for n in range(4)]
    for missing in asked_for:
        coupon_cache.cached_coupons(missing)

    with django_assert_num_queries(0):
        assert coupon_cache.cached_coupon(coupon.pk) is not None
        coupon_cache.cached_coupons(asked_for[-1])
    with django_assert_num_queries(1):  # nor is all that was asked for kept
        coupon_cache.cached_coupons(asked_for[0])


class Clock:
    """Stands in for ``time``: a millisecond passes with every look."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def time_ns(self) -> int:
        self._now_ms += 1
        return self._now_ms * 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.mark.parametrize("closes_in_us", [1_000, 1_999, 2_000, 2_500])
def test_what_was_open_when_it_was_asked_for_is_open_by_its_event(
    log: Log, monkeypatch: pytest.MonkeyPatch, closes_in_us: int
) -> None:
    now = timezone.now().replace(microsecond=0)
    coupon, [user] = make_coupon(closes_at=now + timedelta(microseconds=closes_in_us)), make_users(1)
    loading.load_all([coupon.pk])
    clock = Clock(int(now.timestamp() * 1000))
    monkeypatch.setattr(screening, "time", clock)
    monkeypatch.setattr(submitting, "time", clock)

    [code] = told(submit([claim(coupon.pk, user)]))

    assert code in (None, Code.COUPON_CLOSED)
    assert (code is None) == (closes_in_us >= 2_000)
    if code is None:
        assert [a.decision for a in issue_coupons(log.requests).allocations] == [Decision.ISSUED]
    else:
        assert log.requests == []


def test_an_open_window_is_the_same_to_the_api_and_to_the_consumer(log: Log) -> None:
    """To the millisecond, wherever the window's own microseconds are."""
    opens = timezone.now().replace(microsecond=0)
    for microsecond in (0, 1, 999, 1_000, 500_001, 999_999):
        coupon = make_coupon(opens_at=opens.replace(microsecond=microsecond))
        view = coupon_cache.cached_coupon(coupon.pk)
        assert view is not None
        first_ms = int(opens.timestamp()) * 1000 + microsecond // 1000
        for at_ms in (first_ms - 1, first_ms, first_ms + 1):
            [request] = make_requests(coupon.pk, make_users(1))
            request = structs.replace(request, event=structs.replace(request.event, timestamp_ms=at_ms))
            [allocation] = issue_coupons([request]).allocations
            assert (allocation.decision is Decision.ISSUED) == view.is_open_at(at_ms), (microsecond, at_ms)
