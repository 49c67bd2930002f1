"""Leaked reservations are found and given back; reservations with an event never are."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

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
from coupons.eventlog import backlog, kafka_client, log_search, log_state, positions
from coupons.eventlog.broker_probe import BrokerProbe, Look
from coupons.eventlog.events import CouponIssueEvent, IssueRequest, encode, partition_key, partition_of
from coupons.eventlog.place import EndOffset, NextOffset, Place
from coupons.eventlog.positions import Position
from coupons.eventlog.producer import event_producer
from coupons.figures import reading
from coupons.gate import disclosed, leaked_slots, loading, pending
from coupons.gate.admission import (
    gate,
)
from coupons.gate.leaked_slots import LeakSearch, Turns
from coupons.issuing.deciding import issue_coupons
from coupons.models import IssueOutcome, Refusal, UserCoupon
from tests import broker
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nobody publishes for as long as an API may."""
    if "whole_wait" not in request.keywords:
        monkeypatch.setattr(leaked_slots, "PUBLISHABLE_S", 1.0)
        monkeypatch.setattr(leaked_slots, "SETTLED_S", 0.2)


class Clock:
    """Stands in for the monotonic clock; jumps when told to."""

    jumped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.jumped_s


def _reserve(coupon_id: int, user_id: int) -> Claim:
    view = coupon_cache.cached_coupon(coupon_id)
    assert view is not None
    claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())
    loading.load(view)
    gate.admit(view, [claim])
    return claim


def _coupons_by_partition(partitions: int = 3) -> dict[int, int]:
    """A coupon for each partition of the test's topic, whose events it has now."""
    found: dict[int, int] = {}
    while len(found) < partitions:
        coupon_id = make_coupon(stock=9).pk
        found.setdefault(partition_of(partition_key(coupon_id), partitions), coupon_id)
    return found


def _lose_end(partition: int) -> None:
    """As a consumer notes it: the log ended at 0, and had been decided to 5."""
    at = Position(topic_id=kafka_client.topic_id(timeout_s=10), next_offset=NextOffset(5))
    positions.move(partition, to=at)
    positions.halt(partition, seen=at, end=EndOffset(0))


def _finish(search: LeakSearch) -> list[Claim]:
    """Advance until the round is over, as the housekeeping thread does."""
    found: list[Claim] | None = None

    def is_over() -> bool:
        nonlocal found
        found = search.advance()
        return found is not None

    eventually(is_over, within_s=30)
    return found or []


def test_a_reservation_without_an_event_is_given_back_and_told(topic: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    leaked = _reserve(coupon.pk, user)

    assert _finish(LeakSearch()) == [leaked]

    assert gate.reserved(coupon.pk) == 0
    outcome = IssueOutcome.objects.get(pk=leaked.request_id)
    assert (outcome.status, outcome.reason) == ("REJECTED", "BROKER_UNAVAILABLE")


def test_nothing_is_called_unpublished_while_a_leader_may_hold_events_that_nobody_can_read(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that lost its replicas after it had appended: the events are seen when these are back."""
    coupon, [user] = make_coupon(stock=1), make_users(1)
    leaked = _reserve(coupon.pk, user)
    own = partition_of(partition_key(coupon.pk), 3)
    truly = BrokerProbe.look

    def without_replicas(probe: BrokerProbe, *, timeout_s: float, closely: bool) -> Look | None:
        look = truly(probe, timeout_s=timeout_s, closely=closely)
        return look and replace(look, whole=look.whole - {own})

    search = LeakSearch()
    with monkeypatch.context() as outage:
        outage.setattr(BrokerProbe, "look", without_replicas)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert search.advance() is None
            time.sleep(0.2)
        assert not IssueOutcome.objects.exists()

    assert _finish(search) == [leaked]


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
    search = LeakSearch()

    clock.jumped_s = 17  # an API with COUPON_PUBLISH_TIMEOUT_MS=9000 may publish it still
    assert search.advance() is None
    assert search.advance() is None
    assert not IssueOutcome.objects.exists()

    clock.jumped_s = 18
    assert _finish(search) == [leaked]


def test_a_reservation_whose_event_is_undecided_in_the_log_is_kept(topic: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7())
    [answer] = submitting.submit([claim])
    assert isinstance(answer, submitting.Accepted)
    search = LeakSearch()

    until = time.monotonic() + 4  # well past the wait
    while time.monotonic() < until:
        assert search.advance() is None
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


#: manage.py in which nobody publishes for as long as an API may.
_HURRIED: Final = """
import sys, django
django.setup()
from coupons.gate import leaked_slots
leaked_slots.PUBLISHABLE_S = 1.0
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("words", "start"),
    [((), ["manage.py"]), (("--group-id", "a-group-of-its-own"), ["-c", _HURRIED])],
    ids=["whole wait", "group"],
)
def test_the_consumer_gives_leaked_slots_back_by_itself(
    transactional_db: None, topic: str, words: tuple[str, ...], start: list[str]
) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    system = System(topic=topic, consumers=0)
    consumer = system.new_consumer(*words)
    consumer.command[1:2] = start
    system.consumers = [consumer]
    with system:
        first = system.claim(coupon.pk, users[0])
        system.wait_decided([first.body["requestId"]])
        leaked = _reserve(coupon.pk, users[1])
        assert system.claim(coupon.pk, users[2]).code == "OUT_OF_STOCK"

        eventually(
            lambda: system.status(str(leaked.request_id)).body.get("status") == "REJECTED", within_s=60
        )
        of_user = Refusal.objects.filter(user_id=users[1], request_id=leaked.request_id)
        eventually(lambda: [row.code for row in of_user.all()] == ["BROKER_UNAVAILABLE"])  # for support
        eventually(lambda: decided(coupon.pk) == {"ISSUED": 1, "BROKER_UNAVAILABLE": 1})

        assert system.claim(coupon.pk, users[2]).status == 202


def decided(coupon_id: int) -> dict[str, int]:
    """The figures of the event's page."""
    return reading.total(reading.by_step(coupon_id, since=0, until=2**40)).decisions


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
        end = Position(
            topic_id=kafka_client.topic_id(timeout_s=10), next_offset=NextOffset(at.first + at.end)
        )
        positions.move(partition, to=end)
    assert log_search.find([claim.request_id for claim in claims], since_ms=0, patience_s=10).keys() == {
        claim.request_id for claim in claims
    }

    search = LeakSearch()
    eventually(lambda: bool(backlog.read(timeout_s=10).requests) or search.advance() is not None, within_s=30)

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

    assert _finish(LeakSearch()) == [claim]

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

    assert _finish(LeakSearch()) == [told]

    assert IssueOutcome.objects.get(pk=told.request_id).reason == "BROKER_UNAVAILABLE"
    assert disclosed.forget_decided() == 1


def _delete_before(topic: str, *, partition: int, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": settings.CONFIG.kafka.bootstrap_servers})
    [deleted] = admin.delete_records([TopicPartition(topic, partition, offset)]).values()
    deleted.result(10)


@pytest.mark.services_only
def test_where_the_log_was_cut_off_nobody_is_told_never_published(topic: str) -> None:
    coupon, users = make_coupon(stock=9), make_users(3)
    claim = _reserve(coupon.pk, users[0])  # perhaps it was written, and is deleted since
    for user in users[1:]:
        _published(coupon.pk, user)
    consume_all(BatchProcessor(producer=event_producer()).process)
    [at] = [each for each in backlog.positions(timeout_s=10).items() if each[1].end]
    _delete_before(topic, partition=at[0], offset=1)

    assert _finish(LeakSearch()) == [claim]

    assert IssueOutcome.objects.get(pk=claim.request_id).reason == "EVENT_LOST"


def test_a_partition_that_is_not_decided_keeps_its_own_coupons_waiting_and_no_others(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaked_slots, "STILL_S", 2.0)
    users = make_users(3)
    coupons = _coupons_by_partition()
    _published(coupons[1], users[0])  # and no consumer
    leaked = [_reserve(coupons[partition], users[1]) for partition in (0, 1, 2)]
    search = LeakSearch()

    assert set(_finish(search)) == {leaked[0], leaked[2]}

    assert {claim.coupon_id for claim in search.waiting} == {coupons[1]}
    assert IssueOutcome.objects.filter(reason="BROKER_UNAVAILABLE").count() == 2
    consume_all(BatchProcessor(producer=event_producer()).process)
    assert _finish(LeakSearch()) == [leaked[1]]


def test_a_partition_that_lost_its_end_keeps_its_own_coupons_waiting_and_no_others(topic: str) -> None:
    [user] = make_users(1)
    coupons = _coupons_by_partition()
    _lose_end(2)
    leaked = [_reserve(coupons[partition], user) for partition in (0, 1, 2)]

    assert set(_finish(LeakSearch())) == set(leaked[:2])

    assert gate.reserved(coupons[2]) == 1
    [lost] = [each for each in log_state.look() if each.state.is_a_loss]
    log_state.accept_loss(lost)
    assert _finish(LeakSearch()) == leaked[2:]


def test_where_a_smaller_topic_would_have_had_the_lost_event_the_claim_waits(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer partitions its coupon's key led to the one whose end is lost: perhaps it was there."""
    [user] = make_users(1)
    coupon_id = _coupons_by_partition()[2]
    _lose_end(0)  # with one partition all was there
    before = _reserve(coupon_id, user)

    assert _finish(LeakSearch()) == []

    assert not IssueOutcome.objects.exists()
    hour_ms = 3_600_000
    monkeypatch.setattr(leaked_slots, "CLOCK_JUMPS_MS", -hour_ms)  # as if it was made long after the loss
    assert _finish(LeakSearch()) == [before]


@pytest.mark.services_only
def test_events_deleted_before_they_were_decided_keep_the_coupons_of_their_partition_waiting_and_no_others(
    topic: str,
) -> None:
    users = make_users(3)
    coupons = _coupons_by_partition()
    gone, kept = (_published(coupons[1], user) for user in users[:2])
    _delete_before(topic, partition=1, offset=1)
    positions.move(1, to=Position(topic_id=kafka_client.topic_id(timeout_s=10), next_offset=NextOffset(0)))
    leaked = _reserve(coupons[0], users[2])

    assert _finish(LeakSearch()) == [leaked]

    # Perhaps it was written when the topic had fewer partitions, to the one that was cut off, and a moment
    # before an event of an earlier time.
    assert IssueOutcome.objects.get(pk=leaked.request_id).reason == "EVENT_LOST"
    assert {claim.request_id for claim in gate.reservations(limit=9, coupon_id=coupons[1])} == {
        gone.request_id,
        kept.request_id,
    }


def test_what_was_passed_over_in_another_partition_is_found_and_the_undecided_is_left_alone(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the topic got more partitions: the events stand in another than their key leads to now."""
    monkeypatch.setattr(leaked_slots, "STILL_S", 2.0)
    users = make_users(2)
    coupons = _coupons_by_partition()
    claims = [_reserve(coupons[0], user) for user in users]
    values = [
        encode(make_event(coupon_id=coupons[0], user_id=claim.user_id, request_id=claim.request_id))
        for claim in claims
    ]
    broker.write(topic, *values, partition=1)
    topic_id = kafka_client.topic_id(timeout_s=10)
    positions.move(1, to=Position(topic_id=topic_id, next_offset=NextOffset(1)))

    assert _finish(LeakSearch()) == []

    assert not IssueOutcome.objects.exists()
    assert positions.stored()[1].next_offset == 0


def test_a_coupon_with_very_many_reservations_hides_no_other(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaked_slots, "STILL_S", 2.0)
    monkeypatch.setattr(leaked_slots, "MOST_AT_ONCE", 6)
    monkeypatch.setattr(leaked_slots, "MOST_OF_ONE", 2)
    coupons, users = _coupons_by_partition(), make_users(9)
    for user in users:
        _published(coupons[1], user)
    leaked = [_reserve(coupons[partition], users[0]) for partition in (0, 2)]

    assert set(_finish(LeakSearch())) == set(leaked)


def test_many_coupons_that_wait_for_long_hide_no_other(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ten paused coupons do: each fills its share of a round, and together they fill the round."""
    monkeypatch.setattr(leaked_slots, "STILL_S", 2.0)  # ends are noted meanwhile
    monkeypatch.setattr(leaked_slots, "MOST_AT_ONCE", 4)
    monkeypatch.setattr(leaked_slots, "MOST_OF_ONE", 2)
    users = make_users(3)
    waiting = [_coupons_by_partition()[1] for _ in range(3)]
    for coupon_id in waiting:
        for user in users:
            _published(coupon_id, user)
    leaked = _reserve(_coupons_by_partition()[0], users[0])
    turns = Turns()

    given_back = [_finish(LeakSearch(turns)) for _ in range(2)]

    assert given_back == [[], [leaked]]
    assert set(waiting) == {claim.coupon_id for claim in gate.reservations(limit=100)}
