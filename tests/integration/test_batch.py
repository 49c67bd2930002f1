"""One batch after its commit: Redis hears of it, metrics count it, and Redis away stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from consumer import telling
from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.claim import Claim
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import NextOffset
from coupons.gate import loading, pending
from coupons.gate.admission import (
    Admitted,
    AlreadyRequested,
    Decisions,
    GateUnavailable,
    OutOfStock,
    gate,
)
from coupons.models import Coupon, IssueOutcome
from tests.consuming import standing_before
from tests.factories import make_coupon, make_requests, make_users
from tests.messages import received

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "read", lambda **_: Backlog(requests=[], next_to_decide={0: NextOffset(0)}))


def processor() -> BatchProcessor:
    # No dead letter is among what it gets: nothing is published.
    return BatchProcessor(producer=None)  # type: ignore[arg-type]


def process(requests: Sequence[IssueRequest], by: BatchProcessor | None = None) -> None:
    messages = received(requests)
    (by or processor()).process(messages, standing_before(messages))  # type: ignore[arg-type]


def fresh_view(coupon: Coupon) -> CachedCoupon:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    return view


def reserve(coupon: Coupon, requests: Sequence[IssueRequest]) -> None:
    """As the API did before it published them."""
    view = loading.load(fresh_view(coupon))
    assert gate.admit(view, [request.event.claim for request in requests]) == [Admitted()] * len(requests)
    pending.note([(r.event, r.place) for r in requests])


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_gate_is_told_who_won_and_who_gave_a_slot_back() -> None:
    coupon, users = make_coupon(stock=3), make_users(4)
    requests = make_requests(coupon.pk, users[:3])
    reserve(coupon, requests)
    Coupon.objects.filter(pk=coupon.pk).update(stock=2)  # so that the third is rejected

    process(requests)

    assert gate.reserved(coupon.pk) == 0
    Coupon.objects.filter(pk=coupon.pk).update(stock=1)
    again = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    assert gate.admit(fresh_view(coupon), again) == [
        AlreadyRequested(first_request_id=requests[0].event.request_id),
        AlreadyRequested(first_request_id=requests[1].event.request_id),
        Admitted(),
        OutOfStock(),
    ]


def test_redis_hears_of_a_batch_while_the_database_works_on_the_next_one() -> None:
    coupon, users = make_coupon(), make_users(4)
    requests = make_requests(coupon.pk, users)
    reserve(coupon, requests)
    messages: list[Any] = received(requests)
    standing = standing_before(messages)
    processor = BatchProcessor(producer=None)  # type: ignore[arg-type]

    processor.process(messages[:2], standing, lambda: messages[2:])
    reserved = [gate.reserved(coupon.pk)]
    processor.process(messages[2:3], standing, lambda: messages[3:])
    reserved.append(gate.reserved(coupon.pk))
    processor.process(messages[3:], standing)
    reserved.append(gate.reserved(coupon.pk))

    assert reserved == [4, 2, 0]


def test_redis_hears_of_a_batch_that_none_follows_when_it_is_to_be_told() -> None:
    """What was there of the next one may have been dropped."""
    coupon, users = make_coupon(), make_users(2)
    requests = make_requests(coupon.pk, users)
    reserve(coupon, requests)
    messages: list[Any] = received(requests)
    processor = BatchProcessor(producer=None)  # type: ignore[arg-type]
    processor.process(messages[:1], standing_before(messages), lambda: messages[1:])

    processor.tell()

    assert gate.reserved(coupon.pk) == 1


def test_decided_requests_are_not_tracked_any_more_and_the_pace_is_noted() -> None:
    coupon, users = make_coupon(), make_users(3)
    requests = make_requests(coupon.pk, users, partition=1)
    reserve(coupon, requests)

    process(requests)

    assert [pending.find(request.event.request_id) for request in requests] == [None] * 3
    pace = pending.rate(1)
    assert pace is not None
    assert pace > 0


def test_a_redelivered_batch_leaves_the_gate_as_it_is() -> None:
    coupon, users = make_coupon(stock=5), make_users(5)
    requests = make_requests(coupon.pk, users[:3])
    reserve(coupon, requests)
    process(requests)

    process(requests)

    claims = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    assert gate.admit(fresh_view(coupon), claims)[3:] == [Admitted(), Admitted()]
    assert gate.reserved(coupon.pk) == 2


def test_a_redelivery_frees_the_slots_that_a_dead_consumer_did_not() -> None:
    coupon, users = make_coupon(stock=3), make_users(3)
    requests = make_requests(coupon.pk, users)
    process(requests)  # committed; let Redis not have heard of it
    gate.clear(coupon.pk)
    gate.load(fresh_view(coupon), [request.event.claim for request in requests])
    assert gate.reserved(coupon.pk) == 3

    process(requests)

    assert gate.reserved(coupon.pk) == 0


def test_without_redis_a_batch_is_decided_all_the_same(redis_away: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)

    process(make_requests(coupon.pk, users))

    assert list(IssueOutcome.objects.order_by("kafka_offset").values_list("status", flat=True)) == [
        "ISSUED",
        "ISSUED",
        "REJECTED",
    ]


def test_what_redis_missed_it_is_told_when_it_answers(redis_away: pytest.MonkeyPatch) -> None:
    """A gate that was loaded meanwhile held the slots of decided requests: the last ones were withheld."""
    coupon, users = make_coupon(stock=4), make_users(5)
    first, second = make_requests(coupon.pk, users[:2]), make_requests(coupon.pk, users[2:4])
    consumer = processor()
    process(first, consumer)
    redis_away.undo()
    gate.forget_failure()
    gate.load(fresh_view(coupon), [request.event.claim for request in [*first, *second]])
    assert gate.reserved(coupon.pk) == 4

    consumer.tell()  # as between two polls

    assert gate.reserved(coupon.pk) == 2
    [gained] = gate.admit(
        fresh_view(coupon), [Claim(coupon_id=coupon.pk, user_id=users[4], request_id=uuid7())]
    )
    assert gained == OutOfStock(), "what is left is reserved"
    process(second, consumer)
    assert gate.reserved(coupon.pk) == 0


def test_what_redis_refuses_for_long_is_left_to_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an error of one batch does not keep all later ones from their gates."""
    refused: list[int] = []

    def refuse(decisions: Sequence[Decisions]) -> None:
        refused.append(len(decisions))
        raise GateUnavailable("for the test")

    monkeypatch.setattr(telling, "LATE_S", 0.0)
    coupon, users = make_coupon(stock=2), make_users(2)
    requests = make_requests(coupon.pk, users)
    consumer = processor()
    with monkeypatch.context() as broken:
        broken.setattr(gate, "notify", refuse)
        process(requests[:1], consumer)
    gate.load(fresh_view(coupon), [requests[1].event.claim])

    process(requests[1:], consumer)

    assert refused == [1]
    assert gate.reserved(coupon.pk) == 0


def test_what_was_decided_is_counted() -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    requests = make_requests(coupon.pk, users)
    names = ("ISSUED", "OUT_OF_STOCK", "REPLAYED")
    before = [value("coupon_events_decided_total", decision=name) for name in names]
    batches, events = value("coupon_batch_size_count"), value("coupon_batch_size_sum")

    process(requests)
    process(requests)

    after = [value("coupon_events_decided_total", decision=name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 2]
    assert (value("coupon_batch_size_count"), value("coupon_batch_size_sum")) == (batches + 2, events + 4)
    assert value("coupon_batch_seconds_count") >= 2
