"""A paused coupon may have a million deferred events: who asks for other coupons reads none of them."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from django.utils import timezone
from django_redis import get_redis_connection

from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import deferred
from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from coupons.eventlog.producer import event_producer
from coupons.gate import loading
from coupons.gate.admission import Loaded, gate
from coupons.gate.catching_up import CatchingUp
from coupons.models import Coupon, DeferredEvent
from coupons.operations import resetting
from coupons.operations.verification.run import gate_findings
from tests import broker
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


class Looked:
    """Whose deferred events were read, a row at a time."""

    def __init__(self) -> None:
        self.at: list[int] = []


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    found, read = Looked(), deferred.request_of

    def noting(row: DeferredEvent) -> object:
        found.at.append(row.coupon_id)
        return read(row)

    monkeypatch.setattr(deferred, "request_of", noting)
    return found


def publish(topic: str, events: Collection[CouponIssueEvent], *, partition: int = 0) -> None:
    for event in events:
        broker.write(topic, encode(event), key=partition_key(event.coupon_id), partition=partition)


def paused_with_events(topic: str, *, count: int, stock: int = 100) -> Coupon:
    """A coupon with so many deferred events, whose gate is empty."""
    coupon = make_coupon(stock=stock, deciding_paused_at=timezone.now())
    publish(topic, [make_event(coupon_id=coupon.pk, user_id=user) for user in make_users(count)])
    consume_all(BatchProcessor(producer=event_producer()).process)
    assert DeferredEvent.objects.filter(coupon_id=coupon.pk).count() == count
    return coupon


def view_of(coupon: Coupon) -> CachedCoupon:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    return view


def lose_redis() -> None:
    get_redis_connection("default").flushdb()
    coupon_cache.forget_all()


def test_cold_gates_are_loaded_without_them(topic: str, looked: Looked) -> None:
    """Nor is the paused coupon's gate loaded beside: its event in the log is not all that it has."""
    paused, one, two = paused_with_events(topic, count=3), make_coupon(), make_coupon()
    users = make_users(2)
    publish(topic, [make_event(coupon_id=each.pk, user_id=users[0]) for each in (one, two, paused)])
    lose_redis()

    loading.load_all([one.pk, two.pk])

    assert looked.at == []
    assert [gate.reserved(one.pk), gate.reserved(two.pk)] == [1, 1]
    assert not isinstance(gate.standing(view_of(paused)), Loaded)
    loading.load_all([paused.pk, make_coupon().pk])
    assert set(looked.at) == {paused.pk}
    assert gate.reserved(paused.pk) == 4, "three that are deferred, and one in the log"


def test_a_gate_that_counts_too_many_is_mended_without_them(topic: str, looked: Looked) -> None:
    """A coupon of which something is deferred is not decided, and its own gate is left as it is."""
    paused, other = paused_with_events(topic, count=2), make_coupon()
    for coupon in (paused, other):
        loading.load(view_of(coupon))
        get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "issued", 5)
    looked.at.clear()

    catching_up = CatchingUp()
    corrected = [catching_up.look() for _ in range(2)][-1]

    assert corrected == [other.pk]
    assert looked.at == []


def test_what_waits_is_counted_by_coupon_without_them(topic: str, looked: Looked) -> None:
    paused, other = paused_with_events(topic, count=3), make_coupon()
    publish(topic, [make_event(coupon_id=each.pk, user_id=make_users()[0]) for each in (paused, other)])
    lose_redis()

    assert resetting.under_way([paused.pk, other.pk]) == {paused.pk: 4, other.pk: 1}
    assert resetting.under_way([paused.pk]) == {paused.pk: 4}
    assert looked.at == []


def test_verify_looks_at_one_coupons_at_a_time(topic: str, looked: Looked) -> None:
    paused, other = paused_with_events(topic, count=2), make_coupon()
    for coupon in (paused, other):
        loading.load(view_of(coupon))
    looked.at.clear()

    assert gate_findings([other]) == []
    assert looked.at == []
    assert gate_findings([paused, other]) == []
    assert looked.at == [paused.pk] * 2


def test_they_are_read_in_steps_and_in_their_order(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "READ_AT_ONCE", 2)
    paused = paused_with_events(topic, count=5)

    offsets = [request.place.offset for request in deferred.requests([paused.pk])]

    assert offsets == sorted(offsets)
    assert len(offsets) == 5


@pytest.mark.parametrize("looks", [1, 2, 100])
def test_the_coupons_that_have_some_are_found(
    topic: str, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setattr(deferred, "MOST_LOOKS", looks)
    assert deferred.coupons() == set()

    paused = {paused_with_events(topic, count=count).pk for count in (2, 1, 2)}
    make_coupon()

    assert deferred.coupons() == paused
