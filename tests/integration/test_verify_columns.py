"""What if exactly this one is wrong? Every column of every table, and every key of the gate.

verify finds it, or notes it, or its report says that this is not looked at. A new column or key fails the
test until it is told here what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db.models import Model
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from coupons.claim import Claim
from coupons.claims import submitting
from coupons.eventlog import backlog, kafka_client
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import CouponIssueEvent, encode, partition_key
from coupons.eventlog.producer import event_producer
from coupons.gate.leaked_slots import give_back
from coupons.models import Coupon, DeadLetter, DeferredEvent, IssueOutcome, LogPosition, UserCoupon
from coupons.operations.verification import run
from coupons.operations.verification.findings import Report
from coupons.operations.verification.run import verify
from tests import stack
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)

NOT_LOOKED_AT = "not looked at: "
NOTE = "note: "


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way here: what is wrong once is wrong."""
    monkeypatch.setattr(run, "SECOND_LOOK_AFTER_S", 0)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Rows of every kind. ``coupon`` is sold out; of ``other`` a request is under way."""

    coupon: Coupon
    other: Coupon
    stranger: int
    winner: IssueOutcome
    loser: IssueOutcome
    last: IssueOutcome
    given_up: IssueOutcome
    unreadable: IssueOutcome
    unknown_coupon: IssueOutcome
    partition: int

    def letter(self, outcome: IssueOutcome | None) -> DeadLetter:
        return DeadLetter.objects.get(request_id=None if outcome is None else outcome.pk)


def _publish(coupon_id: int, *values: bytes) -> None:
    event_producer().publish([Record(key=partition_key(coupon_id), value=value) for value in values])


def _decide() -> None:
    consume_all(BatchProcessor(producer=event_producer()).process)


def _outcome(event: CouponIssueEvent) -> IssueOutcome:
    return IssueOutcome.objects.get(pk=event.request_id)


@pytest.fixture
def scene(topic: str) -> Scene:
    coupon, other, users = make_coupon(stock=3), make_coupon(stock=5), make_users(8)
    by = [make_event(coupon_id=coupon.pk, user_id=user) for user in users[:7]]
    late = make_event(coupon_id=coupon.pk, user_id=users[0])
    lost = make_event(coupon_id=coupon.pk + 1_000_000, user_id=users[0])
    unreadable = uuid7()
    broken = encode(make_event(coupon_id=coupon.pk, user_id=users[0], request_id=unreadable))
    _publish(coupon.pk, *map(encode, by[:6]), broken.replace(b'"version":1', b'"version":2'), b"{broken")
    _publish(coupon.pk, encode(lost), encode(by[6]))
    _claim(other, users[:2])
    _decide()
    _publish(coupon.pk, encode(late))
    _decide()
    _claim(other, users[2:3])
    give_back([Claim(coupon_id=coupon.pk, user_id=users[7], request_id=uuid7())])
    _write_positions()
    return Scene(
        coupon=coupon,
        other=other,
        stranger=users[7],
        winner=_outcome(by[1]),
        loser=_outcome(by[4]),
        last=_outcome(late),
        given_up=IssueOutcome.objects.get(reason="BROKER_UNAVAILABLE"),
        unreadable=IssueOutcome.objects.get(pk=unreadable),
        unknown_coupon=_outcome(lost),
        partition=_outcome(late).kafka_partition or 0,
    )


def _claim(coupon: Coupon, users: list[int]) -> None:
    answers = submitting.submit(
        [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    )
    assert all(isinstance(answer, submitting.Accepted) for answer in answers), answers


def _write_positions() -> None:
    """As the consumer leaves them: at the end of what has an outcome."""
    kafka, topic_id = settings.CONFIG.kafka, kafka_client.topic_id(timeout_s=5)
    for partition, at in backlog.positions(timeout_s=5).items():
        LogPosition.objects.update_or_create(
            group_id=kafka.group_id,
            topic=kafka.topic,
            partition=partition,
            defaults={"topic_id": topic_id, "next_offset": at.next_to_decide},
        )


def _report() -> Report:
    backlog.forget_failure()  # what the case before did to the log's reading
    return verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)


def _told(expected: str) -> bool:
    """Whether the report says so."""
    report = _report()
    if expected.startswith(NOT_LOOKED_AT):
        return not report.findings and any(
            all(word in line for word in expected.removeprefix(NOT_LOOKED_AT).split("|"))
            for line in report.not_looked_at
        )
    if expected.startswith(NOTE):
        return any(expected.removeprefix(NOTE) in note for note in report.notes)
    return expected in {finding.check.value for finding in report.findings}


@dataclass(frozen=True, kw_only=True)
class Case:
    """``row``'s ``column`` becomes ``value``; the report says ``told``."""

    column: str
    row: Model
    value: Any
    told: str


def _missed(cases: Sequence[Case]) -> list[str]:
    """Corrupt one at a time and put it right again; returns the cases that verify did not tell of."""
    missed = []
    for case in cases:
        rows = type(case.row)._default_manager
        [before] = rows.filter(pk=case.row.pk).values()
        rows.filter(pk=case.row.pk).update(**{case.column: case.value})
        key = rows.model._meta.pk
        assert key is not None
        changed = case.value if case.column == key.attname else case.row.pk
        assert rows.filter(pk=changed).values().get() != before, case
        if not _told(case.told):
            missed.append(f"{rows.model.__name__}.{case.column} = {case.value}: {case.told}")
        rows.filter(pk=changed).update(**before)
    assert _told_nothing(), "put right again, all is clean"
    return missed


def _told_nothing() -> bool:
    report = _report()
    # One request is under way.
    return report.is_clean and [note[:7] for note in report.notes] == ["1 event"]


def _assert_all_are_told(model: type[Model], cases: Sequence[Case], *, held: Collection[str] = ()) -> None:
    """``held``: columns that constraints keep from being wrong alone."""
    columns = {field.attname for field in model._meta.get_fields() if hasattr(field, "attname")}
    assert columns == {case.column for case in cases} | {*held}
    assert _missed(cases) == []


def test_a_scene_of_every_kind_is_clean(scene: Scene) -> None:
    report = _report()

    assert report.findings == []
    assert report.unchecked == []
    assert report.notes == ["1 events are not decided yet; the consumer has not reached them"]
    # The one that was given up has no place.
    assert report.looked_at["outcomesWithTheirEvent"] == IssueOutcome.objects.count() - 1


def test_every_column_of_coupon(scene: Scene) -> None:
    coupon, day = scene.coupon, timedelta(days=1)

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=coupon, value=value, told=told)

    _assert_all_are_told(
        Coupon,
        [
            case("description", "another", "not looked at: description"),
            case("discount_amount", 1, "not looked at: discount_amount"),
            case("stock", 1, "note: stock is 1, the last decision left 0"),
            case("issued_count", 2, "ISSUED_COUNT"),
            case("adopted_count", 2, "ISSUED_COUNT"),
            case("coupon_status", "CLOSED", "not looked at: coupon_status"),
            case("opens_at", coupon.created_at, "not looked at: opens_at"),
            case("closes_at", coupon.created_at, "not looked at: closes_at"),
            case("claims_paused_at", coupon.created_at, "not looked at: |claims_paused_at"),
            case("deciding_paused_at", coupon.created_at, "not looked at: |deciding_paused_at"),
            case("deferred_count", 1, "DEFERRED_COUNT"),
            case("eligible_only", True, "not looked at: |eligible_only"),
            case("is_rehearsal", True, "not looked at: |is_rehearsal"),
            case("reset_at", coupon.created_at, "not looked at: reset_at"),
            case("created_at", coupon.created_at + day, "ISSUED_COUNT"),
            case("updated_at", coupon.created_at + day, "not looked at: coupon: |updated_at"),
        ],
        held={"coupon_id"},  # by the foreign keys of those who have it
    )


def test_every_column_of_user_coupon(scene: Scene) -> None:
    held = UserCoupon.objects.get(request_id=scene.winner.pk)

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=held, value=value, told=told)

    _assert_all_are_told(
        UserCoupon,
        [
            case("user_coupon_id", 10_000_000, "WINNER_HAS_COUPON"),
            case("user_id", scene.stranger, "WINNER_HAS_COUPON"),
            case("coupon_id", make_coupon().pk, "WINNER_HAS_COUPON"),
            case("status", "USED", "not looked at: user_coupon: status"),
            case("issued_at", held.issued_at + timedelta(hours=9), "ISSUED_WHEN_DECIDED"),
            case("used_at", held.issued_at, "not looked at: user_coupon: |used_at"),
            case("request_id", None, "WINNER_HAS_COUPON"),
            case("request_id", uuid7(), "COUPON_HAS_OUTCOME"),
            case(
                "created_at", held.issued_at - timedelta(hours=9), "not looked at: user_coupon: |created_at"
            ),
            case(
                "updated_at", held.issued_at - timedelta(hours=9), "not looked at: user_coupon: |updated_at"
            ),
        ],
    )


def test_every_column_of_a_winners_outcome(scene: Scene) -> None:
    winner = scene.winner

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=winner, value=value, told=told)

    _assert_all_are_told(
        IssueOutcome,
        [
            case("request_id", uuid7(), "EVERY_EVENT_DECIDED"),
            case("request_id", uuid7(), "OUTCOME_HAS_EVENT"),
            case("coupon_id", scene.other.pk, "OUTCOME_MATCHES_EVENT"),
            case("user_id", scene.stranger, "OUTCOME_MATCHES_EVENT"),
            case("status", "REJECTED", "OUTCOME_IS_WHOLE"),
            case("status", "FAILED", "OUTCOME_IS_WHOLE"),
            case("reason", "OUT_OF_STOCK", "OUTCOME_IS_WHOLE"),
            case("coupon_epoch", 1, "ISSUED_COUNT"),
            case("detail", "something", "not looked at: coupon_issue_outcome: detail"),
            case("user_coupon_id", 10_000_000, "WINNER_HAS_COUPON"),
            case("claim_rank", 7, "RANKS_WITHOUT_GAPS"),
            case("requested_at", winner.requested_at + timedelta(milliseconds=1), "OUTCOME_MATCHES_EVENT"),
            case("processed_at", winner.processed_at + timedelta(hours=9), "ISSUED_WHEN_DECIDED"),
            case("stock_left", 0, "STOCK_ADDS_UP"),
            case("kafka_partition", 77, "OUTCOME_MATCHES_EVENT"),
            case("kafka_offset", 999_999, "OUTCOME_MATCHES_EVENT"),
        ],
    )


def test_every_column_of_a_losers_outcome(scene: Scene) -> None:
    loser, hours = scene.loser, timedelta(hours=2)

    def case(column: str, value: Any, told: str, row: IssueOutcome = loser) -> Case:
        return Case(column=column, row=row, value=value, told=told)

    _assert_all_are_told(
        IssueOutcome,
        [
            case("request_id", uuid7(), "OUTCOME_HAS_EVENT"),
            case("coupon_id", scene.other.pk, "OUTCOME_MATCHES_EVENT"),
            case("user_id", scene.stranger, "OUTCOME_MATCHES_EVENT"),
            case("status", "ISSUED", "OUTCOME_IS_WHOLE"),
            case("reason", "ALREADY_REQUESTED", "WINNERS_IN_LOG_ORDER"),
            case("reason", "BROKER_UNAVAILABLE", "GIVEN_UP_HAS_NO_EVENT"),
            case("reason", "COUPON_NOT_FOUND", "OUTCOME_IS_WHOLE"),
            case("reason", "USER_NOT_FOUND", "note: told USER_NOT_FOUND and their user is there now"),
            case("coupon_epoch", 1, "OUTCOME_MATCHES_EVENT"),
            case("detail", "something", "not looked at: coupon_issue_outcome: detail"),
            case("user_coupon_id", 1, "OUTCOME_IS_WHOLE"),
            case("claim_rank", 4, "OUTCOME_IS_WHOLE"),
            case("requested_at", loser.requested_at + hours, "OUTCOME_MATCHES_EVENT"),
            case("processed_at", loser.processed_at + hours, "TRANSACTIONS_IN_LOG_ORDER"),
            case(
                "processed_at", scene.last.processed_at - hours, "note: dated more than an hour", scene.last
            ),
            case("stock_left", 1, "STOCK_ADDS_UP"),
            case("kafka_partition", 77, "OUTCOME_MATCHES_EVENT"),
            case("kafka_offset", 0, "OUTCOME_MATCHES_EVENT"),
        ],
    )


def test_every_column_of_the_outcome_of_what_was_given_up(scene: Scene) -> None:
    given_up, hour = scene.given_up, timedelta(hours=1)
    never = "not looked at: ids, epoch and times of what never was in the log"

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=given_up, value=value, told=told)

    _assert_all_are_told(
        IssueOutcome,
        [
            case("request_id", uuid7(), never),
            case("coupon_id", scene.other.pk, never),
            case("user_id", None, "OUTCOME_IS_WHOLE"),
            case("status", "FAILED", "OUTCOME_IS_WHOLE"),
            case("reason", "OUT_OF_STOCK", "OUTCOME_IS_WHOLE"),
            case("coupon_epoch", None, never),  # its coupon may have been deleted
            case("detail", "something", "not looked at: coupon_issue_outcome: detail"),
            case("user_coupon_id", 1, "OUTCOME_IS_WHOLE"),
            case("claim_rank", 4, "OUTCOME_IS_WHOLE"),
            case("requested_at", given_up.requested_at + hour, never),
            case("processed_at", given_up.processed_at + hour, never),
            case("stock_left", 0, "OUTCOME_IS_WHOLE"),
            case("kafka_partition", 0, "OUTCOME_IS_WHOLE"),
            case("kafka_offset", 0, "OUTCOME_IS_WHOLE"),
        ],
    )


def test_every_column_of_the_outcome_of_a_dead_letter(scene: Scene) -> None:
    unreadable, unknown, hour = scene.unreadable, scene.unknown_coupon, timedelta(hours=1)

    def case(column: str, value: Any, told: str, row: IssueOutcome = unreadable) -> Case:
        return Case(column=column, row=row, value=value, told=told)

    _assert_all_are_told(
        IssueOutcome,
        [
            case("request_id", uuid7(), "FAILURE_HAS_LETTER"),
            case("coupon_id", scene.other.pk, "OUTCOME_MATCHES_EVENT", unknown),
            case("user_id", scene.stranger, "OUTCOME_MATCHES_EVENT", unknown),
            case("status", "REJECTED", "OUTCOME_IS_WHOLE"),
            case("reason", "TOO_LARGE", "FAILURE_HAS_LETTER"),
            case("coupon_epoch", 1, "not looked at: coupon_epoch |of a dead letter"),
            case("detail", "something", "not looked at: coupon_issue_outcome: detail"),
            case("user_coupon_id", 1, "OUTCOME_IS_WHOLE"),
            case("claim_rank", 4, "OUTCOME_IS_WHOLE"),
            case("requested_at", unreadable.requested_at + hour, "LETTER_IS_WHOLE"),
            case("requested_at", unknown.requested_at + hour, "OUTCOME_MATCHES_EVENT", unknown),
            case(
                "processed_at",
                unreadable.processed_at + hour,
                "not looked at: |processed_at of a dead letter",
            ),
            case("stock_left", 0, "OUTCOME_IS_WHOLE"),
            case("kafka_partition", 77, "FAILURE_HAS_LETTER"),
            case("kafka_offset", 999_999, "FAILURE_HAS_LETTER"),
            case("kafka_offset", None, "OUTCOME_IS_WHOLE"),
        ],
    )


def test_every_column_of_dead_letters(scene: Scene) -> None:
    with_id, no_id, unknown = map(scene.letter, (scene.unreadable, None, scene.unknown_coupon))
    later = with_id.created_at + timedelta(hours=1)
    unseen = "not looked at: coupon_dead_letter: |"

    def case(column: str, value: Any, told: str, row: DeadLetter = with_id) -> Case:
        return Case(column=column, row=row, value=value, told=told)

    _assert_all_are_told(
        DeadLetter,
        [
            case("state", "LOST", "LETTER_IS_WHOLE"),
            case("state", "REPLAYED", "LETTER_IS_WHOLE", unknown),
            case("state", "DISCARDED", unseen + "was discarded"),
            case("reason", "NOT_JSON", "FAILURE_HAS_LETTER"),
            case("reason", "BAD_LUCK", "LETTER_IS_WHOLE", no_id),
            case("error", "another", unseen + "error"),
            case("request_id", None, "FAILURE_HAS_LETTER"),
            case("request_id", uuid7(), "LETTER_IS_WHOLE", no_id),
            case("original_topic", "another", "DEAD_LETTER_KEPT"),
            case("original_topic", "another", "DEAD_LETTER_KEPT", no_id),
            case("original_topic", "another", "DEAD_LETTER_KEPT", unknown),
            case("original_partition", 77, "FAILURE_HAS_LETTER"),
            case("original_partition", 77, "DEAD_LETTER_KEPT", no_id),
            case("original_offset", 999_999, "FAILURE_HAS_LETTER"),
            case("original_offset", 999_999, "DEAD_LETTER_KEPT", no_id),
            case("original_timestamp_ms", 1, "LETTER_IS_WHOLE"),
            case("original_timestamp_ms", 1, unseen + "could be read or has no request id", no_id),
            case("original_key", b"another", unseen + "original_key"),
            case("original_value", b"another", unseen + "original_value"),
            case("created_at", later, unseen + "created_at"),
            case("updated_at", later, unseen + "updated_at"),
        ],
        held={"dead_letter_id"},  # nothing points at it
    )
    DeadLetter.objects.filter(pk=unknown.pk).delete()
    assert _told("FAILURE_HAS_LETTER")


def test_every_column_of_log_positions(scene: Scene) -> None:
    row = LogPosition.objects.get(partition=scene.partition)
    knows_topic_ids = bool(kafka_client.topic_id(timeout_s=5))
    assert knows_topic_ids or stack.KIND == "embedded"
    of_another_topic = "POSITION_IN_LOG" if knows_topic_ids else "not looked at: |topic_id where the broker"

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=row, value=value, told=told)

    _assert_all_are_told(
        LogPosition,
        [
            case("group_id", "another", "note: the group has no position"),
            case("topic", "another", "note: the group has no position"),
            case("partition", 77, "POSITION_IN_LOG"),
            case("topic_id", "AAAAAAAAAAAAAAAAAAAAAQ", of_another_topic),
            case("next_offset", row.next_offset - 1, "note: at or beyond the group's position"),
            case("next_offset", row.next_offset + 1_000, "POSITION_IN_LOG"),
            case("lost_end", row.next_offset - 1, "POSITION_IN_LOG"),
            case("updated_at", row.updated_at - timedelta(days=1), "not looked at: updated_at"),
        ],
        held={"id"},  # nothing points at it
    )


def test_every_column_of_deferred_events(scene: Scene) -> None:
    """The request that is under way in the scene is deferred here."""
    Coupon.objects.filter(pk=scene.other.pk).update(deciding_paused_at=scene.other.created_at)
    _decide()
    row = DeferredEvent.objects.get(coupon=scene.other)
    unseen = "not looked at: coupon_deferred_event: |"

    def case(column: str, value: Any, told: str) -> Case:
        return Case(column=column, row=row, value=value, told=told)

    _assert_all_are_told(
        DeferredEvent,
        [
            case("coupon_id", scene.coupon.pk, "DEFERRED_COUNT"),
            case("coupon_id", scene.coupon.pk, "DEFERRED_IS_WHOLE"),
            case("request_id", uuid7(), "EVERY_EVENT_DECIDED"),
            case("request_id", scene.winner.pk, "DEFERRED_IS_WHOLE"),
            case("kafka_partition", 77, "DEFERRED_IS_WHOLE"),
            case("kafka_offset", 999_999, "DEFERRED_IS_WHOLE"),
            case("written_ms", 1, unseen + "written_ms"),
            case("event_key", b"another", unseen + "event_key"),
            case("event_value", b"another", "DEFERRED_IS_WHOLE"),
            case("event_headers", b"\x80", unseen + "event_headers"),
            case("deferred_at", row.deferred_at - timedelta(days=1), unseen + "deferred_at"),
        ],
        held={"deferred_id"},  # nothing points at it, and of one row there is no order
    )


def test_every_key_and_field_of_redis(scene: Scene) -> None:
    redis, tag = get_redis_connection("default"), f"{{coupon:{scene.other.pk}}}"
    gate, reservations = f"{tag}:gate", f"{tag}:reservations"
    [user] = redis.hkeys(reservations)
    cases: dict[tuple[str, str], Callable[[], str]] = {}

    def case(name: str, change: Callable[[], object], told: str) -> None:
        def corrupt() -> str:
            change()
            return told

        cases[name, told] = corrupt

    case("gate ready", lambda: redis.hdel(gate, "ready"), "not looked at: an empty gate")
    case("gate epoch", lambda: redis.hset(gate, "epoch", 1), "GATE_COUNTS")
    case("gate epoch gone", lambda: redis.hdel(gate, "epoch"), "GATE_COUNTS")
    case("gate issued", lambda: redis.hincrby(gate, "issued", 1), "GATE_COUNTS")
    case("gate issued gone", lambda: redis.hdel(gate, "issued"), "GATE_COUNTS")
    case("gate issued no number", lambda: redis.hset(gate, "issued", "x"), "GATE_COUNTS")
    # A gate of another server's history counts as empty.
    case("gate history", lambda: redis.hset(gate, "history", "x"), "not looked at: an empty gate")
    case("gate reserved", lambda: redis.hset(gate, "reserved", 7), "GATE_COUNTS")
    case("gate no hash", lambda: (redis.delete(gate), redis.set(gate, "x")), "GATE_COUNTS")
    case("gate gone", lambda: redis.delete(gate), "not looked at: an empty gate")
    case("reservations gone", lambda: redis.delete(reservations), "EVERY_REQUEST_RESERVED")
    case("reservations id", lambda: redis.hset(reservations, user, uuid7().bytes), "NO_LEAKED_RESERVATION")
    case(
        "reservations no hash",
        lambda: (redis.delete(reservations), redis.set(reservations, "x")),
        "GATE_COUNTS",
    )
    case("reservations no id", lambda: redis.hset(reservations, user, b"x"), "GATE_COUNTS")
    case("reservations more", lambda: redis.hset(reservations, b"x", uuid7().bytes), "NO_LEAKED_RESERVATION")
    case(
        "reservations decided",
        lambda: redis.hset(reservations, b"x", scene.winner.pk.bytes),
        "NO_STALE_RESERVATION",
    )
    for name, told in (
        ("settled:", "what a gate remembers"),
        ("coupon-requests:", "tracked requests"),
        ("coupon-consumer-progress:", "progress"),
        ("coupon-consumer-rate:", "progress"),
        ("lock-signal:", "locks"),
    ):
        keys = [key for key in redis.scan_iter() if name.encode() in key]
        case(name, lambda keys=keys: redis.delete(b"none", *keys), "not looked at: Redis|" + told)  # type: ignore[misc]

    unknown = [key for key in redis.scan_iter() if not any(_kind(name) in key.decode() for name, _ in cases)]
    assert unknown == []
    assert {*redis.hgetall(gate)} <= {b"ready", b"epoch", b"issued", b"reserved", b"history"}
    assert _missed_in_redis(cases.values()) == []


def _kind(name: str) -> str:
    """What keys of that kind have in their name."""
    return name if name.endswith(":") else ":" + name.split()[0]


def _missed_in_redis(corruptions: Iterable[Callable[[], str]]) -> list[str]:
    redis = get_redis_connection("default")
    missed = []
    for corrupt in corruptions:
        kept = {key: redis.dump(key) for key in redis.scan_iter()}
        told = corrupt()
        if not _told(told):
            missed.append(told)
        redis.flushdb()
        for key, value in kept.items():
            redis.restore(key, 0, value)
    assert _told_nothing()
    return missed
