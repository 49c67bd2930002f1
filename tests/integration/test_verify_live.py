"""verify while others write: consumers decide, operators change things, retention deletes. All clean."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.eventlog.backlog import Positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import IssueRequest, encode, partition_key
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset
from coupons.eventlog.producer import event_producer
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from coupons.operations import dead_letters, resetting
from coupons.operations.dead_letters import Selection
from coupons.operations.verification import database, run
from coupons.operations.verification.findings import Check, Report
from coupons.operations.verification.log import LogCheck
from coupons.operations.verification.run import verify
from coupons.operations.verification.snapshot import snapshot
from coupons.outcomes import RequestStatus
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_requests, make_users

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SECOND_LOOK_AFTER_S", 0)


def _report(*, from_topic: bool = True) -> Report:
    return verify(coupon_id=None, from_topic=from_topic, on_progress=lambda done, whole: None)


def _publish(coupon: Coupon, users: list[int]) -> list[bytes]:
    values = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in users]
    event_producer().publish([Record(key=partition_key(coupon.pk), value=value) for value in values])
    return values


def _decide() -> None:
    consume_all(BatchProcessor(producer=event_producer()).process)


@contextmanager
def _consumer_at_work(requests: list[IssueRequest]) -> Iterator[threading.Event]:
    """Decides one after the other in a thread of its own, as fast as it can; the event tells its end."""
    over = threading.Event()

    def work() -> None:
        try:
            for request in requests:
                issue_coupons([request])
        finally:
            connection.close()
            over.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield over
    finally:
        thread.join(60)


def test_a_consumer_at_work_raises_nothing() -> None:
    """The coupon's count and the outcomes that it counts are read one after the other."""
    coupon, users = make_coupon(stock=1_000), make_users(300)
    looks = 0
    findings: list[Any] = []

    with _consumer_at_work(make_requests(coupon.pk, users)) as over:
        while not over.is_set():
            with snapshot():
                findings += database.check(Coupon.objects.get(pk=coupon.pk))
            looks += 1

    assert looks > 1
    assert UserCoupon.objects.count() == 300
    assert findings == []


def test_without_a_snapshot_a_consumer_at_work_is_taken_for_a_fault() -> None:
    """What the snapshot is for: else the test above shows nothing."""
    coupon, users = make_coupon(stock=1_000), make_users(1)
    read = Coupon.objects.get(pk=coupon.pk)

    issue_coupons(make_requests(coupon.pk, users))

    assert Check.ISSUED_COUNT in {finding.check for finding in database.check(read)}


def test_retention_that_goes_on_while_the_log_is_read_raises_nothing() -> None:
    coupon, users = make_coupon(stock=2), make_users(4)
    requests = make_requests(coupon.pk, users)
    issue_coupons(requests)
    check = LogCheck(
        {0: Positions(first=FirstOffset(0), next_to_decide=NextOffset(4), end=EndOffset(4))}, coupon_id=None
    )
    for request in requests[2:]:
        check.add(request.place, request)

    check.events.gone_before({0: FirstOffset(2)})

    assert list(check.findings()) == []
    assert list(check.noted.notes()) == []


def test_a_database_restored_and_decided_again_raises_nothing() -> None:
    coupon, users = make_coupon(stock=3), make_users(6)
    requests = make_requests(coupon.pk, users)
    issue_coupons(requests[:2])
    [dump] = Coupon.objects.filter(pk=coupon.pk).values()
    issue_coupons(requests[2:])
    forgotten = [request.event.request_id for request in requests[2:]]
    IssueOutcome.objects.filter(pk__in=forgotten).delete()
    UserCoupon.objects.filter(request_id__in=forgotten).delete()
    Coupon.objects.filter(pk=coupon.pk).update(**dump)

    issue_coupons(requests[2:])

    check = LogCheck(
        {0: Positions(first=FirstOffset(0), next_to_decide=NextOffset(6), end=EndOffset(6))}, coupon_id=None
    )
    for request in requests:
        check.add(request.place, request)
    assert list(check.findings()) == []
    assert list(database.check(Coupon.objects.get(pk=coupon.pk))) == []
    assert list(check.noted.notes()) == []


def test_an_outcome_beyond_the_logs_end_is_found(topic: str) -> None:
    """With a real log: what lies beyond is read on to, and is not there."""
    coupon, users = make_coupon(stock=3), make_users(3)
    _publish(coupon, users[:2])
    _decide()
    last = IssueOutcome.objects.order_by("-claim_rank")[0]
    held = UserCoupon.objects.create(
        coupon=coupon, user_id=users[2], request_id=make_event(coupon_id=1, user_id=1).request_id
    )
    UserCoupon.objects.filter(pk=held.pk).update(issued_at=last.processed_at)
    last.pk, last.user_id, last.user_coupon_id = held.request_id, users[2], held.pk
    last.claim_rank, last.stock_left, last.kafka_offset = 3, 0, (last.kafka_offset or 0) + 5
    last.save(force_insert=True)
    Coupon.objects.filter(pk=coupon.pk).update(issued_count=3, stock=0)

    assert [finding.check for finding in _report().findings] == [Check.OUTCOME_HAS_EVENT]


def test_what_operators_may_do_raises_nothing(topic: str) -> None:
    """Top up, close, open, reset, delete and make anew, send dead letters again and put them aside."""
    coupon, unknown, users = make_coupon(stock=2), make_coupon(stock=1), make_users(12)
    Coupon.objects.filter(pk=unknown.pk).delete()
    _publish(coupon, users[:4])
    _publish(unknown, users[:2])
    _decide()
    Coupon.objects.filter(pk=coupon.pk).update(stock=3)
    _publish(coupon, users[4:6])
    _decide()
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")
    _publish(coupon, users[6:8])
    _decide()
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="OPENED")
    assert _report().findings == []

    Coupon.objects.create(coupon_id=unknown.pk, description="late", discount_amount=1, stock=5)
    coupon_cache.forget_all()
    [first, second] = IssueOutcome.objects.filter(status=RequestStatus.FAILED).values_list("pk", flat=True)
    ids = dict(DeadLetter.objects.values_list("request_id", "pk"))
    dead_letters.replay(Selection(ids=[ids[first]]), on_progress=lambda done: None)
    assert _report().findings == [], "sent again and not decided yet"
    _decide()
    dead_letters.discard(Selection(ids=[ids[second]]), on_progress=lambda done: None)
    assert IssueOutcome.objects.get(pk=first).status == RequestStatus.ISSUED
    assert _report().findings == []

    resetting.reset(coupon.pk, stock=2)
    resetting.forget(coupon.pk)
    coupon_cache.forget_all()
    _publish(coupon, users[8:])
    _decide()
    assert _report().findings == []
    UserCoupon.objects.filter(coupon_id=unknown.pk).delete()
    Coupon.objects.filter(pk=unknown.pk).delete()
    Coupon.objects.create(coupon_id=unknown.pk, description="new", discount_amount=1, stock=1)
    _publish(Coupon.objects.get(pk=unknown.pk), users[8:10])
    _decide()

    assert _report().findings == []
