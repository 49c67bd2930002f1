"""What was decided lately is verified at a bounded cost, and what is wrong is told until it is mended."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db.models import F
from django.utils import timezone
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from consumer.watch import Watch
from coupons.eventlog import positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key, partition_of
from coupons.eventlog.producer import event_producer
from coupons.models import Coupon, DeadLetter, DeferredEvent, IssueOutcome, UserCoupon
from coupons.operations.verification import recent
from coupons.operations.verification.findings import Check
from coupons.operations.verification.recent import Look, Recent
from runtime import metrics
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users
from tests.system import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("topic")]


def publish(coupon: Coupon, users: list[int]) -> None:
    values = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in users]
    event_producer().publish([Record(key=partition_key(coupon.pk), value=value) for value in values])


def decide() -> None:
    consume_all(BatchProcessor(producer=event_producer()).process)


def checks(look: Look) -> set[Check]:
    return {each.check for each in look.findings}


@pytest.fixture
def decided() -> Coupon:
    """Ten users claimed five coupons, one of them twice, and an event was rubbish."""
    coupon, users = make_coupon(stock=5), make_users(10)
    publish(coupon, [*users, users[0]])
    event_producer().publish([Record(key=partition_key(coupon.pk), value=b"rubbish")])
    decide()
    return coupon


def test_all_that_is_new_is_verified_once(decided: Coupon) -> None:
    verifying = Recent()

    assert verifying.look() == Look(findings=[], verified=12, behind=0)
    assert verifying.look() == Look(findings=[], verified=0, behind=0)
    publish(decided, make_users(2))
    assert verifying.look().verified == 0, "undecided events are nobody's fault"
    decide()
    assert verifying.look() == Look(findings=[], verified=2, behind=0)


def test_a_look_is_bounded(decided: Coupon, monkeypatch: pytest.MonkeyPatch) -> None:
    verifying = Recent()
    verifying.look()
    monkeypatch.setattr(recent, "MOST_AT_ONCE", 3)
    publish(decided, make_users(7))
    decide()

    looks = [verifying.look() for _ in range(3)]

    assert [(each.verified, each.behind) for each in looks] == [(3, 4), (3, 1), (1, 0)]


def test_no_partition_waits_for_a_busier_one(decided: Coupon, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one partition always has more than a look takes, the others are verified all the same."""
    partition = partition_of(partition_key(decided.pk), 3)
    coupons = iter(make_coupon, None)
    other = next(each for each in coupons if partition_of(partition_key(each.pk), 3) != partition)
    verifying = Recent()
    verifying.look()
    monkeypatch.setattr(recent, "MOST_AT_ONCE", 3)
    publish(other, make_users(1))
    looks = []
    for _ in range(3):
        publish(decided, make_users(3))
        decide()
        Coupon.objects.filter(pk=other.pk).update(issued_count=7)
        looks.append(checks(verifying.look()))

    assert Check.ISSUED_COUNT in looks[-1]


def _delete_an_outcome(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(coupon_id=coupon.pk, status="REJECTED").order_by("kafka_offset")[0].delete()


def _swap_ranks(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(coupon_id=coupon.pk, claim_rank__in=(2, 3)).update(
        claim_rank=5 - F("claim_rank")
    )


BREAKS: dict[Check, Callable[[Coupon], object]] = {
    Check.EVERY_EVENT_DECIDED: _delete_an_outcome,
    Check.WINNERS_IN_LOG_ORDER: _swap_ranks,
    Check.WINNER_HAS_COUPON: lambda coupon: UserCoupon.objects.filter(coupon=coupon)[:1].get().delete(),
    Check.ISSUED_COUNT: lambda coupon: Coupon.objects.filter(pk=coupon.pk).update(issued_count=4),
    Check.OUTCOME_MATCHES_EVENT: lambda coupon: IssueOutcome.objects.filter(
        coupon_id=coupon.pk, claim_rank=1
    ).update(user_id=F("user_id") + 1_000_000),
    Check.DEAD_LETTER_KEPT: lambda coupon: DeadLetter.objects.all().delete(),
}


@pytest.mark.parametrize("check", BREAKS)
def test_what_is_wrong_is_found_and_told_as_long_as_it_is_so(decided: Coupon, check: Check) -> None:
    BREAKS[check](decided)
    verifying = Recent()

    assert check in checks(verifying.look())
    assert check in checks(verifying.look()), "nothing was mended"


def test_what_was_mended_is_not_told_any_more(decided: Coupon) -> None:
    Coupon.objects.filter(pk=decided.pk).update(issued_count=4)
    verifying = Recent()
    assert checks(verifying.look()) == {Check.ISSUED_COUNT}

    Coupon.objects.filter(pk=decided.pk).update(issued_count=5)

    assert verifying.look().findings == []


def test_a_position_that_was_moved_back_is_no_finding(decided: Coupon) -> None:
    verifying = Recent()
    verifying.look()

    positions.move_back(dict.fromkeys(positions.stored(), 0))  # type: ignore[arg-type]
    assert verifying.look().findings == []
    decide()
    assert verifying.look().findings == []


def test_the_watch_sets_the_metrics_and_rests(decided: Coupon, caplog: pytest.LogCaptureFixture) -> None:
    Coupon.objects.filter(pk=decided.pk).update(issued_count=4)
    watching = Watch()

    watching.look()

    assert _value(metrics.DEAD_LETTERS_WAITING) == 1
    assert _value(metrics.VERIFY_FINDINGS) == 1
    assert _value(metrics.VERIFIED_AT) > 0
    assert abs(_value(metrics.DATABASE_CLOCK)) < 5
    assert "ISSUED_COUNT" in caplog.text

    watching.rest()
    assert _value(metrics.DEAD_LETTERS_WAITING) == _value(metrics.VERIFY_FINDINGS) == 0


def test_the_watch_tells_how_many_deferred_events_wait_and_since_when() -> None:
    """Of any coupon: a pause that was forgotten, or events that cannot be decided after it."""
    for hours, paused in ((1, True), (3, False)):
        coupon = make_coupon(deferred_count=1, deciding_paused_at=timezone.now() if paused else None)
        DeferredEvent.objects.create(
            coupon=coupon,
            request_id=uuid7(),
            kafka_partition=0,
            kafka_offset=hours,
            event_value=b"{}",
            deferred_at=timezone.now() - timedelta(hours=hours),
        )
    watching = Watch()

    watching.look()

    assert _value(metrics.DEFERRED_WAITING) == 2
    assert 3 * 3600 <= _value(metrics.DEFERRED_OLDEST_SECONDS) < 4 * 3600
    watching.rest()
    assert _value(metrics.DEFERRED_WAITING) == _value(metrics.DEFERRED_OLDEST_SECONDS) == 0
    DeferredEvent.objects.all().delete()
    Watch().look()
    assert _value(metrics.DEFERRED_OLDEST_SECONDS) == 0


def test_the_watch_does_not_look_at_every_step(decided: Coupon, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    behind = 0

    def look(verifying: Recent) -> Look:
        looks.append(1)
        return Look(findings=[], verified=0, behind=behind)

    monkeypatch.setattr(Recent, "look", look)
    watching = Watch()
    watching.look()
    watching.look()
    assert len(looks) == 1

    behind = 1
    watching = Watch()

    def has_looked_again() -> bool:
        watching.look()
        return len(looks) >= 3

    eventually(has_looked_again, within_s=10)  # there is more, and that look cost next to nothing


def test_the_command_goes_on_watching_until_it_is_interrupted(
    decided: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(seconds: float) -> None:
        if Coupon.objects.get(pk=decided.pk).issued_count == 4:
            raise KeyboardInterrupt
        Coupon.objects.filter(pk=decided.pk).update(issued_count=4)
        publish(decided, make_users(1))
        decide()

    monkeypatch.setattr(time, "sleep", pause)
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("verify", "--watch", stdout=out)

    assert "12 verified, 0 to go: ok" in out.getvalue()
    assert "1 verified, 0 to go: 1 WRONG" in out.getvalue()
    assert "ISSUED_COUNT" in out.getvalue()


def _value(gauge: object) -> float:
    [family] = gauge.collect()  # type: ignore[attr-defined]
    return float(family.samples[0].value)
