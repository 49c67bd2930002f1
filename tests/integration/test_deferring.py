"""The deciding of one coupon is paused: its events wait in their order, the others' are decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DataError, IntegrityError, OperationalError, connection
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from consumer import batch
from consumer.batch import BatchProcessor
from consumer.resuming import Rest, ResumedCoupon, Resuming
from consumer.state import LoopState
from coupons import coupon_cache
from coupons.claim import Claim
from coupons.claims import queue, request_status, submitting
from coupons.claims.submitting import Accepted
from coupons.eventlog import backlog, deferred, positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import (
    SECOND_CHANCE_HEADER,
    CouponIssueEvent,
    IssueRequest,
    encode,
    partition_key,
)
from coupons.eventlog.place import NextOffset
from coupons.eventlog.producer import event_producer
from coupons.gate import disclosed, leaked_slots, loading, pending
from coupons.gate.admission import gate
from coupons.gate.leaked_slots import LeakSearch
from coupons.issuing.deciding import Issued, issue_coupons
from coupons.models import (
    Coupon,
    DeadLetter,
    DeferredEvent,
    DisclosedRequest,
    IssueOutcome,
    LogPosition,
    Steering,
    UserCoupon,
)
from coupons.operations import deferring, purging, rehearsals, resetting, status, steering
from coupons.operations.steering import Step
from coupons.operations.verification.recent import Recent
from coupons.operations.verification.run import verify
from coupons.outcomes import SteeringAction as Action
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


def steer(coupon: Coupon, action: Action) -> Steering:
    coupon.refresh_from_db()
    seen = steering.outlook(coupon, action).seen
    return steering.take(Step(action=action, who="kim", why="a doubt", seen=seen), coupon_id=coupon.pk)


def publish(events: Sequence[CouponIssueEvent], *, headers: Sequence[tuple[str, bytes]] = ()) -> None:
    """In one partition, whatever their coupons, as coupons share partitions."""
    records = [
        Record(key=partition_key(events[0].coupon_id), value=encode(event), headers=[*headers])
        for event in events
    ]
    event_producer().publish(records)


def decide(*, batch_size: int = 100) -> None:
    """As the consumer's loop between two resumed turns."""
    consume_all(BatchProcessor(producer=event_producer()).process, batch_size=batch_size)


def resumer(*, batch_size: int = 100) -> Resuming:
    processor = BatchProcessor(producer=event_producer())
    return Resuming(processor, batch_size=batch_size, state=LoopState())


def resume(coupon: Coupon, *, batch_size: int = 100) -> None:
    steer(coupon, Action.RESUME_DECIDING)
    catch_up(batch_size=batch_size)


def catch_up(*, batch_size: int = 100) -> None:
    """Decide what is deferred and may be decided, to its end."""
    for _ in range(100):
        if not any(each.is_resumed for each in deferring.look()):
            return
        resumer(batch_size=batch_size).step()
    raise AssertionError(f"deferred still: {deferring.look()}")


def events_of(coupon: Coupon, users: Sequence[int]) -> list[CouponIssueEvent]:
    return [make_event(coupon_id=coupon.pk, user_id=user) for user in users]


def told(events: Sequence[CouponIssueEvent]) -> list[str | None]:
    """Each event's status or reason; None while it has no outcome."""
    rows = IssueOutcome.objects.in_bulk([event.request_id for event in events])
    return [(row.reason or row.status) if (row := rows.get(e.request_id)) else None for e in events]


def winners(coupon: Coupon) -> list[int | None]:
    rows = IssueOutcome.objects.filter(coupon_id=coupon.pk, status="ISSUED").order_by("claim_rank")
    return list(rows.values_list("user_id", flat=True))


def assert_clean(*, notes: int = 0) -> None:
    report = verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)
    assert report.findings == []
    assert len(report.notes) == notes, report.notes


def test_others_of_the_same_partition_go_on_and_the_order_is_kept(topic: str) -> None:
    paused, other = make_coupon(stock=3), make_coupon(stock=3)
    users = make_users(8)
    steer(paused, Action.PAUSE_DECIDING)
    waiting, going_on = events_of(paused, users[:4]), events_of(other, users[:4])
    publish([each for pair in zip(waiting, going_on, strict=True) for each in pair])

    decide(batch_size=3)

    assert told(waiting) == [None] * 4
    assert told(going_on) == ["ISSUED", "ISSUED", "ISSUED", "OUT_OF_STOCK"]
    assert [each.waiting for each in deferring.look()] == [4]
    assert_clean(notes=1)

    later = events_of(paused, users[4:6])
    publish(later)
    decide()
    resume(paused, batch_size=2)

    assert told([*waiting, *later]) == ["ISSUED"] * 3 + ["OUT_OF_STOCK"] * 3
    assert winners(paused) == users[:3]
    paused.refresh_from_db()
    assert (paused.stock, paused.issued_count, paused.deferred_count) == (0, 3, 0)
    assert not DeferredEvent.objects.exists()
    assert_clean()


def test_what_comes_while_it_catches_up_comes_behind(topic: str) -> None:
    coupon, users = make_coupon(stock=5), make_users(6)
    steer(coupon, Action.PAUSE_DECIDING)
    publish(first := events_of(coupon, users[:4]))
    decide()
    steer(coupon, Action.RESUME_DECIDING)

    publish(second := events_of(coupon, users[4:]))
    decide()  # before anything that is deferred was decided

    assert told([*first, *second]) == [None] * 6
    catch_up(batch_size=1)
    assert winners(coupon) == users[:5]
    publish(events_of(coupon, make_users(1)))
    decide()
    assert not DeferredEvent.objects.exists(), "all is decided: new events are decided at once"
    assert_clean()


def test_delivered_twice_is_deferred_once(topic: str) -> None:
    """The position goes back, as after a failover; ids come twice, as from a producer that tries again."""
    coupon, users = make_coupon(stock=2), make_users(3)
    before = events_of(coupon, users[:1])
    publish(before)
    decide()
    steer(coupon, Action.PAUSE_DECIDING)
    after = events_of(coupon, users[1:])
    publish([*after, after[0]])
    decide()

    for row in LogPosition.objects.all():
        positions.move_back({row.partition: NextOffset(0)})
    decide()

    assert DeferredEvent.objects.count() == Coupon.objects.get(pk=coupon.pk).deferred_count == 2
    resume(coupon)
    for row in LogPosition.objects.all():
        positions.move_back({row.partition: NextOffset(0)})
    decide()
    assert told([*before, *after]) == ["ISSUED", "ISSUED", "OUT_OF_STOCK"]
    assert UserCoupon.objects.filter(coupon=coupon).count() == 2
    assert_clean()


def test_two_consumers_that_resume_the_same_decide_each_event_once(topic: str) -> None:
    coupon, users = make_coupon(stock=3), make_users(4)
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events := events_of(coupon, users))
    decide()
    steer(coupon, Action.RESUME_DECIDING)
    processor, late = BatchProcessor(producer=event_producer()), deferred.first(coupon.pk, most=2)

    catch_up()

    source = ResumedCoupon(coupon.pk)
    with pytest.raises(deferred.DeferredMoved):
        processor.process(source.messages(late), source)
    assert told(events) == ["ISSUED"] * 3 + ["OUT_OF_STOCK"]
    assert_clean()


def test_a_pause_in_the_middle_of_catching_up_stops_it(topic: str) -> None:
    coupon, users = make_coupon(stock=9), make_users(4)
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, users))
    decide()
    steer(coupon, Action.RESUME_DECIDING)
    read, source = deferred.first(coupon.pk, most=2), ResumedCoupon(coupon.pk)
    steer(coupon, Action.PAUSE_DECIDING)

    resumer(batch_size=2).step()
    with pytest.raises(deferred.DecidingPaused):  # it had read them before
        BatchProcessor(producer=event_producer()).process(source.messages(read), source)

    assert winners(coupon) == []
    assert DeferredEvent.objects.count() == 4
    resume(coupon)
    assert winners(coupon) == users


def test_stopping_at_once_rejects_what_is_deferred(topic: str) -> None:
    coupon = make_coupon()
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events := events_of(coupon, make_users(2)))
    decide()

    steer(coupon, Action.STOP_AT_ONCE)
    catch_up()

    assert told(events) == ["COUPON_CLOSED"] * 2


def accepted(coupon: Coupon, users: Sequence[int]) -> list[UUID]:
    coupon_cache.forget_all()
    claims = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    answers = submitting.submit(claims)
    assert all(isinstance(answer, Accepted) for answer in answers), answers
    return [claim.request_id for claim in claims]


def test_slots_are_kept_and_requests_found_also_when_redis_is_lost(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate is loaded from what is deferred; nobody takes these slots for leaked ones."""
    monkeypatch.setattr(leaked_slots, "PUBLISHABLE_S", 0.0)
    monkeypatch.setattr(leaked_slots, "SETTLED_S", 0.0)
    coupon, users = make_coupon(stock=4), make_users(5)
    steer(coupon, Action.PAUSE_DECIDING)
    ids = accepted(coupon, users[:3])
    decide()
    at = backlog.positions(timeout_s=5)

    get_redis_connection("default").flushdb()
    coupon_cache.forget_all()
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    assert queue.size(coupon.pk) == 3
    found = request_status.status_of(ids[1])
    loading.load(view)

    assert found is not None
    assert (found.status, found.user_id, found.position) == ("PENDING", users[1], None)
    assert gate.reserved(coupon.pk) == 3
    assert resetting.under_way([coupon.pk]) == {coupon.pk: 3}
    assert LeakSearch().advance() == [], "their events are neither leaked nor passed over"
    after = backlog.positions(timeout_s=5)
    assert {p: each.next_to_decide for p, each in after.items()} == {
        p: each.next_to_decide for p, each in at.items()
    }
    assert not IssueOutcome.objects.exists()
    resume(coupon)
    assert winners(coupon) == users[:3]
    assert gate.reserved(coupon.pk) == 0
    assert_clean()


def test_an_event_that_cannot_be_stored_costs_itself_alone(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead letter has the original message, although the log is not asked for it."""
    coupon, users = make_coupon(stock=5), make_users(3)
    steer(coupon, Action.PAUSE_DECIDING)
    events = events_of(coupon, users)
    publish(events, headers=[("traceparent", b"00-1")])
    decide()

    def refusing(requests: Sequence[IssueRequest], **named: Any) -> Issued:
        if any(request.event.user_id == users[1] for request in requests):
            raise DataError(1406, "Data too long")
        return issue_coupons(requests, **named)

    monkeypatch.setattr(batch, "issue_coupons", refusing)
    resume(coupon)

    assert told(events) == ["ISSUED", "UNSTORABLE", "ISSUED"]
    letter = DeadLetter.objects.get()
    assert bytes(letter.original_value or b"") == encode(events[1])
    assert bytes(letter.original_key or b"") == partition_key(coupon.pk)
    assert winners(coupon) == [users[0], users[2]]
    assert not DeferredEvent.objects.exists()


def test_a_second_chance_is_still_one_after_the_pause(topic: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    IssueOutcome.objects.create(
        request_id=event.request_id,
        coupon_id=coupon.pk,
        user_id=user,
        status="FAILED",
        reason="UNSTORABLE",
        requested_at=coupon.created_at,
        kafka_partition=0,
        kafka_offset=0,
    )
    steer(coupon, Action.PAUSE_DECIDING)
    publish([event], headers=[(SECOND_CHANCE_HEADER, b"1")])
    decide()

    resume(coupon)

    assert told([event]) == ["ISSUED"]


def test_a_second_chance_beside_its_original_is_not_lost(topic: str) -> None:
    """As where the position went back in front of both."""
    coupon, [user] = make_coupon(stock=1), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    IssueOutcome.objects.create(
        request_id=event.request_id,
        coupon_id=coupon.pk,
        user_id=user,
        status="FAILED",
        reason="UNSTORABLE",
        requested_at=coupon.created_at,
        kafka_partition=0,
        kafka_offset=0,
    )
    steer(coupon, Action.PAUSE_DECIDING)
    publish([event])
    publish([event], headers=[(SECOND_CHANCE_HEADER, b"1")])
    decide()

    resume(coupon)

    assert told([event]) == ["ISSUED"]


def test_a_coupon_that_cannot_be_decided_keeps_no_other_waiting(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = make_coupon(), make_coupon()
    users = make_users(2)
    for coupon in (stuck, other):
        steer(coupon, Action.PAUSE_DECIDING)
        publish(events_of(coupon, users))
    decide()
    for coupon in (stuck, other):
        steer(coupon, Action.RESUME_DECIDING)

    def failing_for_one(*args: Any, resumed: int | None = None, **named: Any) -> Issued:
        if resumed == stuck.pk:
            raise OperationalError(1205, "Lock wait timeout exceeded")
        return issue_coupons(*args, resumed=resumed, **named)

    monkeypatch.setattr(batch, "issue_coupons", failing_for_one)
    resuming = resumer()
    for _ in range(2):
        resuming.look_at = 0.0
        resuming.step()

    assert list(resuming.rests) == [stuck.pk]
    assert winners(other) == users
    assert winners(stuck) == []


def test_coupons_with_very_many_events_take_turns(topic: str) -> None:
    first, second = make_coupon(), make_coupon()
    users = make_users(6)
    defer_and_resume(first, users)
    defer_and_resume(second, users[:1])
    processor = BatchProcessor(producer=event_producer())
    resuming = Resuming(processor, batch_size=1, state=LoopState(), turn_s=0.0)

    for _ in range(2):
        resuming.look_at = 0.0
        resuming.step()

    assert len(winners(first)) == 1
    assert winners(second) == users[:1]


def defer_and_resume(coupon: Coupon, users: Sequence[int]) -> None:
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, users))
    decide()
    steer(coupon, Action.RESUME_DECIDING)


def test_what_is_deferred_is_in_no_danger_and_asking_again_writes_nothing(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing for the search of leaked slots, however long a pause lasts and whatever Redis has forgotten."""
    coupon, users = make_coupon(), make_users(2)
    asked = [Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users]
    steer(coupon, Action.PAUSE_DECIDING)
    assert all(isinstance(answer, Accepted) for answer in submitting.submit(asked))
    decide()
    monkeypatch.setattr(pending, "acknowledged", lambda request_ids: set())
    again = submitting.submit([asked[0].as_request(uuid7())])

    assert [getattr(each, "request_id", None) for each in again] == [asked[0].request_id]
    assert not DisclosedRequest.objects.exists()
    disclosed.keep(asked)
    assert disclosed.suspects(10) == []
    assert set(LeakSearch().waiting) == set(asked)  # their slots are still reserved


def test_a_reset_leaves_no_request_that_could_come_back(topic: str) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    steer(coupon, Action.PAUSE_DECIDING)
    publish([event := make_event(coupon_id=coupon.pk, user_id=user)])
    decide()
    disclosed.keep([event.claim])

    resetting.reset(coupon.pk, stock=5)

    assert disclosed.suspects(10) == []
    assert told([event]) == [None]


def test_a_database_that_fails_is_waited_for_and_shown(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(), make_users(2)
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events := events_of(coupon, users))
    decide()
    steer(coupon, Action.RESUME_DECIDING)
    state = LoopState()
    resuming = Resuming(BatchProcessor(producer=event_producer()), batch_size=10, state=state)

    def failing(*args: object, **named: object) -> object:
        raise OperationalError(1205, "Lock wait timeout exceeded")

    monkeypatch.setattr(batch, "issue_coupons", failing)
    resuming.step()
    assert state.resume_failure == "OperationalError"
    assert state.retrying_s() > 0
    assert told(events) == [None, None]

    monkeypatch.setattr(batch, "issue_coupons", issue_coupons)
    monkeypatch.setattr(resuming, "look_at", 0.0)
    resuming.step()  # it rests
    assert state.resume_failure == "OperationalError"
    assert told(events) == [None, None]

    resuming.rests = {coupon.pk: Rest(until=0.0, seconds=1.0)}
    monkeypatch.setattr(resuming, "look_at", 0.0)
    resuming.step()
    assert state.resume_failure is None
    assert state.retrying_s() == 0
    assert told(events) == ["ISSUED", "ISSUED"]


def test_it_is_shown_by_whom_it_is_paused_and_how_many_wait(topic: str) -> None:
    coupon = make_coupon()
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, make_users(2)))
    decide()

    found = status.look()
    state = LoopState()
    Resuming(BatchProcessor(producer=event_producer()), batch_size=9, state=state).step()

    [shown] = found.deferring or []
    assert (shown.coupon_id, shown.who, shown.waiting) == (coupon.pk, "kim", 2)
    assert json.loads(json.dumps(found.as_json()))["deferring"][0]["waiting"] == 2
    assert "paused by kim" in state.deferring[coupon.pk]
    assert "2 events wait" in state.deferring[coupon.pk]


def test_what_would_take_deferred_events_away_is_refused(topic: str) -> None:
    coupon = make_coupon(is_rehearsal=True)
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, make_users(1)))
    decide()
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")
    coupon.refresh_from_db()

    with pytest.raises(rehearsals.NotRemoved, match="resume"):
        rehearsals.refuse(coupon)
    assert "resume" in purging.why_not(coupon, coupon.created_at, 0)
    resetting.reset(coupon.pk, stock=5)
    coupon.refresh_from_db()
    assert not coupon.defers
    assert not DeferredEvent.objects.exists()


def test_the_command_pauses_and_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    coupon = make_coupon()

    with pytest.raises(CommandError, match="add --yes"):
        call_command("steer", "pause-deciding", coupon=coupon.pk, why="a doubt", who="lee")
    assert "Nothing of this event is decided" in capsys.readouterr().out
    call_command("steer", "pause-deciding", coupon=coupon.pk, why="a doubt", who="lee", yes=True)
    assert deferring.who_paused(coupon.pk) == "lee"
    with pytest.raises(CommandError, match="not possible"):
        call_command("steer", "pause-deciding", coupon=coupon.pk, why="again", yes=True)
    call_command("steer", "resume-deciding", coupon=coupon.pk, why="all is well", yes=True, json=True)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"] is True
    assert Steering.objects.count() == 2
    with pytest.raises(CommandError, match="--amount"):
        call_command("steer", "open", coupon=coupon.pk, why="x", amount=5, yes=True)


def test_recent_verifying_knows_of_deferred_events(topic: str) -> None:
    coupon = make_coupon()
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, make_users(3)))
    decide()

    look = Recent().look()

    assert (look.verified, look.findings) == (3, [])
    DeferredEvent.objects.all().delete()
    assert len(Recent().look().findings) == 3, "events that are neither decided nor deferred are lost"


def test_an_order_that_was_broken_is_found(topic: str) -> None:
    coupon, users = make_coupon(), make_users(2)
    publish(events := events_of(coupon, users))
    decide()
    first = IssueOutcome.objects.get(pk=events[0].request_id)
    DeferredEvent.objects.create(
        coupon=coupon,
        request_id=events[0].request_id,
        kafka_partition=first.kafka_partition or 0,
        kafka_offset=first.kafka_offset or 0,
        event_value=encode(events[0]),
    )
    Coupon.objects.filter(pk=coupon.pk).update(deferred_count=1)

    report = verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)
    assert {each.check.value for each in report.findings} >= {"DEFERRED_IS_WHOLE"}
    UserCoupon.objects.filter(request_id=events[0].request_id).delete()
    first.delete()
    report = verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)
    assert "DEFERRED_IN_ORDER" in {each.check.value for each in report.findings}


def test_the_database_keeps_the_coupon_of_deferred_events(topic: str) -> None:
    coupon = make_coupon()
    steer(coupon, Action.PAUSE_DECIDING)
    publish(events_of(coupon, make_users(1)))
    decide()

    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute("DELETE FROM coupon WHERE coupon_id = %s", [coupon.pk])
