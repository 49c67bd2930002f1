"""What can never succeed goes to the dead letters, is told as FAILED, and stops nobody else."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest
from django.db import OperationalError
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from consumer.dead_letters import DeadLettersNotAcknowledged
from coupons import coupon_cache
from coupons.claims.request_status import status_of
from coupons.eventlog.delivery import NotPublished, Receipt, Uncertain
from coupons.eventlog.events import SECOND_CHANCE_HEADER, CouponIssueEvent, encode, partition_key
from coupons.eventlog.place import Place
from coupons.eventlog.producer import EventProducer, event_producer
from coupons.gate import loading, pending
from coupons.gate.admission import (
    gate,
)
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from tests import broker
from tests.consuming import standing_before
from tests.factories import make_coupon, make_event, make_users
from tests.messages import ReceivedMessage

pytestmark = pytest.mark.django_db(transaction=True)


def process(*messages: object) -> None:
    given: Any = messages
    BatchProcessor(producer=event_producer()).process(given, standing_before(given))


def rows() -> list[list[Any]]:
    return [list(model.objects.order_by("pk").values()) for model in (UserCoupon, IssueOutcome, DeadLetter)]


def test_a_dead_letter_is_the_original_with_where_it_came_from_and_why(topic: str) -> None:
    own_headers = [("trace", b"abc"), ("binary", b"\xff\x00")]
    before_ms = time.time_ns() // 1_000_000
    _, (partition, offset) = broker.write(topic, b"{}", b"hello \xff", key=b"any key", headers=own_headers)

    process(broker.read(topic, count=2)[1])

    [letter] = broker.read(f"{topic}.DLT", count=1)
    assert (letter.key(), letter.value()) == (b"any key", b"hello \xff")
    sent = dict(letter.headers() or [])
    assert (sent["trace"], sent["binary"]) == (b"abc", b"\xff\x00")
    told: dict[str, Any] = {name: each for name, each in sent.items() if name not in dict(own_headers)}
    assert set(told) == {
        "reason",
        "error",
        "original-topic",
        "original-partition",
        "original-offset",
        "original-timestamp",
        "failed-at",
    }
    assert told["reason"] == b"NOT_JSON"
    assert "utf-8" in told["error"].decode()
    assert told["original-topic"] == topic.encode()
    assert (int(told["original-partition"]), int(told["original-offset"])) == (partition, offset)
    assert before_ms <= int(told["original-timestamp"]) <= time.time_ns() // 1_000_000
    assert datetime.fromisoformat(told["failed-at"].decode()).tzinfo is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "UNKNOWN_VERSION"),
        ({"userId": 0}, "INVALID_FIELDS"),
        ({"couponId": 987_654}, "COUPON_NOT_FOUND"),
        ({"padding": "x" * 20_000}, "TOO_LARGE"),
    ],
)
def test_each_reason_is_told(topic: str, change: dict[str, object], reason: str) -> None:
    [user] = make_users(1)
    fields = json.loads(encode(make_event(coupon_id=1, user_id=user))) | change
    before = REGISTRY.get_sample_value("coupon_dead_letters_total", {"reason": reason}) or 0

    process(ReceivedMessage(0, 0, value=json.dumps(fields).encode()))

    [letter] = broker.read(f"{topic}.DLT", count=1)
    assert dict(letter.headers() or [])["reason"] == reason.encode()
    assert DeadLetter.objects.get().reason == reason
    assert REGISTRY.get_sample_value("coupon_dead_letters_total", {"reason": reason}) == before + 1


def test_the_request_of_a_dead_letter_is_told_as_failed(topic: str) -> None:
    event = make_event(coupon_id=987_654, user_id=8)

    process(ReceivedMessage(1, 5, value=encode(event)))

    report = status_of(event.request_id)
    assert report is not None
    assert (report.status, report.reason) == ("FAILED", "COUPON_NOT_FOUND")
    assert (report.coupon_id, report.user_id) == (987_654, 8)
    assert (report.partition, report.offset) == (1, 5)
    assert report.requested_at_ms == event.timestamp_ms


def test_what_could_be_read_of_a_bad_event_is_in_its_outcome(topic: str) -> None:
    request_id = uuid7()
    value = json.dumps({"eventId": str(request_id), "userId": "8", "couponId": 7, "version": 1})

    process(ReceivedMessage(0, 0, value=value.encode(), timestamp_ms=1_700_000_000_000))

    outcome = IssueOutcome.objects.get(pk=request_id)
    assert (outcome.status, outcome.user_id, outcome.coupon_id) == ("FAILED", None, 7)
    assert outcome.detail is not None
    assert outcome.detail.startswith("userId must be")
    assert int(outcome.requested_at.timestamp() * 1000) == 1_700_000_000_000


@pytest.mark.parametrize("timestamp_ms", [-(2**62), -62_135_596_800_001, 2**62])
def test_a_message_of_an_impossible_time_is_a_dead_letter_like_any_other(
    topic: str, timestamp_ms: int
) -> None:
    request_id = uuid7()
    value = json.dumps({"eventId": str(request_id), "version": 1}).encode()

    process(ReceivedMessage(0, 0, value=value, timestamp_ms=timestamp_ms))

    assert IssueOutcome.objects.get(pk=request_id).status == "FAILED"


def test_a_value_larger_than_a_topic_takes_is_cut_and_says_so(topic: str) -> None:
    process(ReceivedMessage(0, 0, key=b"k" * 20_000, value=b"x" * 3_000_000, headers=[("h", b"y" * 500_000)]))

    [letter] = broker.read(f"{topic}.DLT", count=1)
    headers = dict(letter.headers() or [])
    assert headers["reason"] == b"TOO_LARGE"
    assert headers["truncated-from-bytes"] == b"3000000"
    assert letter.value() == b"x" * 800_000
    assert bytes(DeadLetter.objects.get().original_value or b"") == b"x" * 65_536


@pytest.mark.parametrize(
    "error", [SystemError("decoding"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")]
)
def test_a_good_event_with_headers_that_cannot_be_read_is_issued(topic: str, error: Exception) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    value = encode(make_event(coupon_id=coupon.pk, user_id=user))

    process(
        ReceivedMessage(0, 0, value=value, headers=error), ReceivedMessage(0, 1, value=b"?", headers=error)
    )

    assert UserCoupon.objects.get().user_id == user
    assert len(broker.read(f"{topic}.DLT", count=1)) == 1


def test_a_dead_letter_and_its_second_chance_may_stand_in_one_batch(topic: str) -> None:
    coupon, [user] = make_coupon(stock=0), make_users(1)
    missing = coupon.pk + 1
    value = encode(make_event(coupon_id=missing, user_id=user))
    process(ReceivedMessage(0, 0, value=value))
    Coupon.objects.create(pk=missing, description="made since", discount_amount=1, stock=1)

    process(
        ReceivedMessage(0, 0, value=value),
        ReceivedMessage(0, 1, value=value, headers=[(SECOND_CHANCE_HEADER, b"1")]),
    )

    assert IssueOutcome.objects.get().status == "ISSUED"
    assert UserCoupon.objects.get().coupon_id == missing


def test_broken_neighbours_do_not_stop_good_ones(topic: str) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    good = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in users]
    unknown = encode(make_event(coupon_id=987_654, user_id=users[0]))
    values = [b"broken", good[0], None, unknown, good[1], b"{}", good[2]]

    process(*[ReceivedMessage(0, offset, value=value) for offset, value in enumerate(values)])

    assert list(UserCoupon.objects.order_by("pk").values_list("user_id", flat=True)) == users[:2]
    letters = broker.read(f"{topic}.DLT", count=4)
    assert [letter.value() for letter in letters] == [b"broken", None, b"{}", unknown]


def test_an_event_as_the_kotlin_producer_writes_it_is_issued(topic: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    request_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    written = (
        f'{{"eventId":"{request_id}","userId":{user},"couponId":{coupon.pk},'
        f'"timestamp":1700000000123,"version":1}}'
    )
    type_header = [("__TypeId__", b"com.example.CouponIssueEvent")]
    [(partition, offset)] = broker.write(
        topic, written.encode(), key=f"coupon-{coupon.pk}".encode(), headers=type_header
    )

    process(*broker.read(topic, count=1))

    outcome = IssueOutcome.objects.get(pk=request_id)
    assert (outcome.status, outcome.user_id) == ("ISSUED", user)
    assert (outcome.kafka_partition, outcome.kafka_offset) == (partition, offset)
    assert not DeadLetter.objects.exists()


def test_a_batch_fed_twice_writes_no_row_again(topic: str) -> None:
    coupon, users = make_coupon(), make_users(2)
    values = [
        encode(make_event(coupon_id=coupon.pk, user_id=users[0])),
        b"broken",
        encode(make_event(coupon_id=987_654, user_id=users[0])),
        encode(make_event(coupon_id=coupon.pk, user_id=users[1])),
    ]
    batch = [ReceivedMessage(0, offset, value=value) for offset, value in enumerate(values)]
    process(*batch)
    written = rows()

    process(*batch)

    assert rows() == written


@pytest.mark.parametrize("receipt", [NotPublished(error="away"), Uncertain(error="timeout")])
def test_a_letter_that_the_broker_did_not_take_is_no_outcome_yet(
    topic: str, receipt: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = make_event(coupon_id=987_654, user_id=8)
    batch = [ReceivedMessage(0, 0, value=encode(event)), ReceivedMessage(0, 1, value=b"broken")]

    with monkeypatch.context() as away:
        away.setattr(EventProducer, "publish", lambda self, records: [receipt] * len(records))
        with pytest.raises(DeadLettersNotAcknowledged, match="create_topics"):
            process(*batch)
    assert rows() == [[], [], []]

    process(*batch)
    assert IssueOutcome.objects.get().status == "FAILED"
    assert DeadLetter.objects.count() == 2


def test_outcome_and_letter_are_written_together(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(letters: object) -> None:
        raise OperationalError(2013, "Lost connection")

    batch = [ReceivedMessage(0, 0, value=encode(make_event(coupon_id=987_654, user_id=8)))]
    with monkeypatch.context() as broken:
        broken.setattr(DeadLetter.objects, "bulk_create", fail)
        with pytest.raises(OperationalError):
            process(*batch)

    assert rows() == [[], [], []]


def test_a_request_that_was_issued_is_not_told_as_failed_by_a_later_bad_copy(topic: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    bad_copy = encode(event).replace(b'"version":1', b'"version":2')

    process(ReceivedMessage(0, 0, value=encode(event)))
    process(ReceivedMessage(0, 1, value=bad_copy))

    assert IssueOutcome.objects.get(pk=event.request_id).status == "ISSUED"


def test_a_dead_letter_gives_its_slot_back_and_is_not_pending_any_more(topic: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    claim = event.claim
    view = coupon_cache.cached_coupon(coupon.pk)
    assert view is not None
    loading.load(view)
    gate.admit(view, [claim])
    pending.note([(CouponIssueEvent.of(claim, timestamp_ms=1), Place(0, 0))])
    unreadable = encode(event).replace(b'"version":1', b'"version":2')

    process(ReceivedMessage(0, 0, value=unreadable, key=partition_key(coupon.pk)))

    assert gate.reserved(coupon.pk) == 0
    assert pending.find(event.request_id) is None


def test_the_operator_finds_each_letter_with_its_original(topic: str) -> None:
    process(
        ReceivedMessage(2, 9, key=b"k", value=b"broken \xff"), ReceivedMessage(2, 10, key=None, value=None)
    )

    first, second = DeadLetter.objects.order_by("original_offset")
    assert (first.original_partition, first.original_offset) == (2, 9)
    assert (bytes(first.original_key or b""), bytes(first.original_value or b"")) == (b"k", b"broken \xff")
    assert (second.original_key, second.original_value) == (None, None)
    assert {first.state, second.state} == {"WAITING"}
