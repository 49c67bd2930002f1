"""A request that an answer names can be asked for, whatever Redis forgets and whether the log ever saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from coupons import selectors
from coupons.claim import Claim
from coupons.claims import request_status, submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Accepted, submit
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog
from coupons.eventlog.delivery import Acknowledged, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.place import NextOffset, Place
from coupons.gate import disclosed, leaked_slots
from coupons.gate.admission import (
    gate,
)
from coupons.models import DisclosedRequest, IssueOutcome
from coupons.outcomes import Code, RequestStatus
from tests.factories import make_coupon, make_users
from tests.in_parts import Publisher

pytestmark = pytest.mark.django_db(transaction=True)


class Broker(Publisher):
    """Stands in for the producer and its log: tells of each record what it is told to."""

    is_down = False

    def __init__(self) -> None:
        self.receipt: Receipt = Acknowledged(place=Place(0, 0))

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        return [self.receipt] * len(records)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch, topic: str) -> Broker:
    stands_in = Broker()
    monkeypatch.setattr(submitting, "event_producer", lambda: stands_in)
    monkeypatch.setattr(backlog, "read", lambda **_: Backlog(requests=[], next_to_decide={0: NextOffset(0)}))
    return stands_in


def claim(coupon_id: int, user_id: int) -> Claim:
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())


def status_of(request_id: UUID) -> str | None:
    report = request_status.status_of(request_id)
    return None if report is None else report.status.value


def lose_redis() -> None:
    get_redis_connection("default").flushdb()


def test_an_uncertain_request_is_pending_after_redis_was_lost(broker: Broker) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    broker.receipt = Uncertain(error="timeout")
    uncertain = claim(coupon.pk, user)

    [answer] = submit([uncertain])
    lose_redis()

    assert answer == Refused(code=Code.BROKER_UNAVAILABLE, request_id=uncertain.request_id)
    report = request_status.status_of(uncertain.request_id)
    assert report is not None
    assert (report.status, report.coupon_id, report.user_id) == ("PENDING", coupon.pk, user)
    assert abs((report.requested_at_ms or 0) - timezone.now().timestamp() * 1000) < 60_000


def test_a_request_that_another_claim_was_told_of_is_pending_after_redis_was_lost(broker: Broker) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    broker.receipt = Uncertain(error="timeout")
    first = claim(coupon.pk, user)
    submit([first])
    DisclosedRequest.objects.all().delete()  # as if its own answer had never been given

    [answer] = submit([claim(coupon.pk, user)])
    lose_redis()

    assert answer == Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id)
    assert status_of(first.request_id) == "PENDING"


def test_a_request_told_in_its_own_group_and_not_published_has_its_end(broker: Broker) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    broker.receipt = NotPublished(error="away")
    first = claim(coupon.pk, user)

    answers = submit([first, claim(coupon.pk, user)])
    lose_redis()

    assert answers == [
        Refused(code=Code.BROKER_UNAVAILABLE),
        Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id),
    ]
    assert status_of(first.request_id) == "REJECTED"


def test_what_is_known_to_be_in_the_log_is_not_kept_twice(broker: Broker) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    first = claim(coupon.pk, user)

    together = submit([first, claim(coupon.pk, user)])
    later = submit([claim(coupon.pk, user)])

    told = Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id)
    assert [*together, *later] == [Accepted(request_id=first.request_id), told, told]
    assert not DisclosedRequest.objects.exists()


def test_an_id_that_cannot_be_kept_is_not_told(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(), make_users(2)

    def away(claims: object) -> None:
        raise OperationalError("away, for the test")

    monkeypatch.setattr(disclosed, "keep", away)
    broker.receipt = Uncertain(error="timeout")
    first = claim(coupon.pk, users[0])

    assert submit([first]) == [Refused(code=Code.BROKER_UNAVAILABLE)]
    broker.receipt = Acknowledged(place=Place(0, 0))
    other = claim(coupon.pk, users[1])
    assert submit([claim(coupon.pk, users[0]), other]) == [
        Refused(code=Code.ALREADY_REQUESTED),
        Accepted(request_id=other.request_id),
    ]


def test_keeping_twice_is_keeping_once() -> None:
    one, other = claim(1, 1), claim(1, 2)

    disclosed.keep([one, one])
    disclosed.keep([other, one])

    assert set(disclosed.suspects(10)) == {one, other}


def test_the_ids_of_other_producers_say_nothing_of_their_time() -> None:
    far = UUID(int=(2**48 - 1) << 80 | 7 << 76 | 0b10 << 62)
    claims = [Claim(coupon_id=1, user_id=1, request_id=request_id) for request_id in (uuid4(), far)]

    disclosed.keep(claims)

    now_ms = timezone.now().timestamp() * 1000
    for each in claims:
        found = disclosed.find(each.request_id)
        assert found is not None
        assert found.claim == each
        assert abs(found.timestamp_ms - now_ms) < 60_000


def test_what_is_decided_is_forgotten_and_no_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disclosed, "AT_ONCE", 2)
    coupon = make_coupon()
    claims = [claim(coupon.pk, user) for user in make_users(7)]
    disclosed.keep(claims)
    leaked_slots.give_back(claims[:5])

    assert disclosed.suspects(10) == claims[5:]
    assert disclosed.suspects(1) == claims[5:6]
    behind = disclosed.suspects(2, after=claims[5].request_id)  # so that none waits for the first for ever
    assert behind == [claims[6], claims[5]]
    assert disclosed.forget(each.request_id for each in [claims[0], claims[6]]) == 1
    assert disclosed.forget_decided(limit=2) == 2
    assert disclosed.forget_decided() == 2

    assert {row.pk for row in DisclosedRequest.objects.all()} == {each.request_id for each in claims[5:]}
    assert disclosed.find(claims[0].request_id) is None
    assert status_of(claims[0].request_id) == "REJECTED"


def test_a_database_error_after_reserving_gives_the_slots_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupon, users = make_coupon(stock=5), make_users(2)
    submit([claim(coupon.pk, users[0])])

    def away(*args: Any) -> Any:
        raise OperationalError("away, for the test")

    with monkeypatch.context() as broken:
        broken.setattr(selectors, "decided", away)
        with pytest.raises(OperationalError):
            submit([claim(coupon.pk, users[1]), claim(coupon.pk, users[0])])

    assert gate.reserved(coupon.pk) == 1


def test_an_outcome_is_told_before_the_kept_row() -> None:
    one = claim(1, 1)
    disclosed.keep([one])
    IssueOutcome.objects.create(
        request_id=one.request_id, status=RequestStatus.REJECTED, requested_at=timezone.now()
    )

    assert status_of(one.request_id) == "REJECTED"
