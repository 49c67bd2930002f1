"""Leaked reservations are found and given back; reservations with an event never are."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from django.conf import settings
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.claim import Claim
from coupons.claims import submitting
from coupons.claims.request_status import status_of
from coupons.eventlog import backlog, kafka_client, log_search, positions
from coupons.eventlog.events import CouponIssueEvent, IssueRequest
from coupons.eventlog.place import Place
from coupons.eventlog.positions import Position
from coupons.eventlog.producer import event_producer
from coupons.gate import disclosed, leaked_slots, loading, pending
from coupons.gate.admission import (
    gate,
)
from coupons.gate.leaked_slots import Round
from coupons.issuing.deciding import issue_coupons
from coupons.models import IssueOutcome, UserCoupon
from tests import broker
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nobody publishes for as long as an API may."""
    if "whole_wait" not in request.keywords:
        monkeypatch.setattr(leaked_slots, "_PUBLISHABLE_S", 1.0)


class Clock:
    """Stands in for the monotonic clock; jumps when told to."""

    jumped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.jumped_s


def _reserve(coupon_id: int, user_id: int) -> Claim:
    view = coupon_cache.coupon_view(coupon_id)
    assert view is not None
    claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())
    loading.load(view)
    gate.admit(view, [claim])
    return claim


def _finish(round_: Round) -> list[Claim]:
    """Advance until the round is over, as the housekeeping thread does."""
    found: list[Claim] | None = None

    def is_over() -> bool:
        nonlocal found
        found = round_.advance()
        return found is not None

    eventually(is_over, within_s=30)
    return found or []


def test_a_reservation_without_an_event_is_given_back_and_told(topic: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    leaked = _reserve(coupon.pk, user)

    assert _finish(Round()) == [leaked]

    assert gate.reserved(coupon.pk) == 0
    outcome = IssueOutcome.objects.get(pk=leaked.request_id)
    assert (outcome.status, outcome.reason) == ("REJECTED", "BROKER_UNAVAILABLE")


@pytest.mark.whole_wait
def test_the_wait_is_for_the_slowest_api_there_may_be_not_for_the_own_setting(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = replace(settings.CONFIG.producer, publish_timeout_ms=500)
    monkeypatch.setattr(settings, "CONFIG", replace(settings.CONFIG, producer=producer))
    clock = Clock()
    monkeypatch.setattr(leaked_slots, "time", clock)
    coupon, [user] = make_coupon(stock=1), make_users(1)
    leaked = _reserve(coupon.pk, user)
    round_ = Round()

    clock.jumped_s = 17  # an API with COUPON_PUBLISH_TIMEOUT_MS=9000 may publish it still
    assert round_.advance() is None
    assert round_.advance() is None
    assert not IssueOutcome.objects.exists()

    clock.jumped_s = 18
    assert _finish(round_) == [leaked]


def test_a_reservation_whose_event_is_undecided_in_the_log_is_kept(topic: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    [answer] = submitting.submit([claim])
    assert isinstance(answer, submitting.Accepted)
    round_ = Round()

    until = time.monotonic() + 4  # well past the wait
    while time.monotonic() < until:
        assert round_.advance() is None
        time.sleep(0.5)

    assert gate.reserved(coupon.pk) == 1
    assert not IssueOutcome.objects.exists()


def test_an_event_that_comes_after_all_changes_nothing() -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    leaked_slots.give_back([claim])

    late = CouponIssueEvent.of(claim, timestamp_ms=time.time_ns() // 1_000_000)
    issue_coupons([IssueRequest(event=late, place=Place(0, 7))])

    assert not UserCoupon.objects.exists()
    assert IssueOutcome.objects.get(pk=claim.request_id).status == "REJECTED"


def test_a_decided_reservation_keeps_its_outcome() -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    issue_coupons([IssueRequest(event=event, place=Place(0, 0))])

    assert leaked_slots.give_back([event.claim]) == []

    assert IssueOutcome.objects.get(pk=event.request_id).status == "ISSUED"


@pytest.mark.parametrize("words", [(), ("--group-id", "a-group-of-its-own")])
def test_the_consumer_gives_leaked_slots_back_by_itself(
    transactional_db: None, topic: str, words: tuple[str, ...]
) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    system = System(topic=topic, consumers=0)
    system.consumers = [system.new_consumer(*words)]
    with system:
        first = system.claim(coupon.pk, users[0])
        system.wait_decided([first.body["requestId"]])
        leaked = _reserve(coupon.pk, users[1])
        assert system.claim(coupon.pk, users[2]).code == "OUT_OF_STOCK"

        eventually(
            lambda: system.status(str(leaked.request_id)).body.get("status") == "REJECTED", within_s=60
        )

        assert system.claim(coupon.pk, users[2]).status == 202


def _published(coupon_id: int, user_id: int) -> Claim:
    claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())
    [answer] = submitting.submit([claim])
    assert isinstance(answer, submitting.Accepted)
    return claim


def test_a_request_whose_event_was_passed_over_is_decided_and_not_rejected(topic: str) -> None:
    """Somebody moved the position over it, or made the table's row by hand."""
    coupon, users = make_coupon(stock=3), make_users(3)
    claims = [_published(coupon.pk, user) for user in users]
    for partition, at in backlog.positions(timeout_s=10).items():
        end = Position(topic_id=kafka_client.topic_id(timeout_s=10), next_offset=at.first + at.end)
        positions.move(partition, to=end)
    assert log_search.find([claim.request_id for claim in claims], since_ms=0, patience_s=10).keys() == {
        claim.request_id for claim in claims
    }

    round_ = Round()
    eventually(lambda: bool(backlog.read(timeout_s=10).requests) or round_.advance() is not None, within_s=30)

    assert not IssueOutcome.objects.exists()
    consume_all(BatchProcessor(producer=event_producer()).process)
    assert IssueOutcome.objects.filter(status="ISSUED").count() == 3


def test_a_request_that_was_acknowledged_and_is_in_no_log_is_told_lost_and_not_never_published(
    topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    claim = _reserve(coupon.pk, user)
    place = Place(0, 7)  # acknowledged, and deleted since
    pending.note([(CouponIssueEvent.of(claim, timestamp_ms=1), place)])

    assert _finish(Round()) == [claim]

    outcome = IssueOutcome.objects.get(pk=claim.request_id)
    assert (outcome.status, outcome.reason) == ("FAILED", "EVENT_LOST")
    assert "LOST" in caplog.text
    report = status_of(claim.request_id)
    assert report is not None
    assert (report.status, report.reason) == ("FAILED", "EVENT_LOST")


@pytest.mark.parametrize("since_ms", [0, 1_600_000_000_000])
def test_what_stands_in_the_log_is_found_and_nothing_else(topic: str, since_ms: int) -> None:
    coupon, users = make_coupon(stock=3), make_users(3)
    claims = [_published(coupon.pk, user) for user in users]
    broker.write(topic, b"rubbish", None, b'{"eventId":"none"}')

    found = log_search.find([claims[1].request_id, uuid7()], since_ms=since_ms, patience_s=10)

    assert list(found) == [claims[1].request_id]
    [request] = [each for each in backlog.read(timeout_s=10).requests if each.event.user_id == users[1]]
    assert list(found.values()) == [request.place]


@pytest.mark.services_only  # Tansu tells the first offset for any time
def test_what_was_written_before_is_not_looked_for(topic: str) -> None:
    coupon, [user] = make_coupon(stock=3), make_users(1)
    claim = _published(coupon.pk, user)
    tomorrow = time.time_ns() // 1_000_000 + 86_400_000

    assert log_search.find([claim.request_id], since_ms=tomorrow, patience_s=10) == {}


def test_what_a_client_was_told_of_has_its_end_though_redis_is_away(
    topic: str, redis_away: pytest.MonkeyPatch
) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    told = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    disclosed.keep([told])

    assert _finish(Round()) == [told]

    assert IssueOutcome.objects.get(pk=told.request_id).reason == "BROKER_UNAVAILABLE"
    assert disclosed.forget_decided() == 1


@pytest.mark.services_only
def test_where_the_log_was_cut_off_nobody_is_told_never_published(topic: str) -> None:
    coupon, users = make_coupon(stock=9), make_users(3)
    claim = _reserve(coupon.pk, users[0])  # perhaps it was written, and is deleted since
    for user in users[1:]:
        _published(coupon.pk, user)
    consume_all(BatchProcessor(producer=event_producer()).process)
    admin = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    [at] = [each for each in backlog.positions(timeout_s=10).items() if each[1].end]
    [deleted] = admin.delete_records([TopicPartition(topic, at[0], 1)]).values()
    deleted.result(10)

    assert _finish(Round()) == [claim]

    assert IssueOutcome.objects.get(pk=claim.request_id).reason == "EVENT_LOST"
