"""verify finds every kind of corruption, and raises nothing on clean data."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django_redis import get_redis_connection
from uuid_utils.compat import uuid7

from consumer.batch import BatchProcessor
from coupons import coupon_cache
from coupons.claim import Claim
from coupons.claims import submitting
from coupons.eventlog import positions
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key
from coupons.eventlog.place import NextOffset
from coupons.eventlog.producer import event_producer
from coupons.gate.admission import (
    gate,
)
from coupons.models import Coupon, DeadLetter, IssueOutcome, UserCoupon
from coupons.operations.reconciling import reconcile
from coupons.operations.verification import run
from coupons.operations.verification.findings import Check
from coupons.operations.verification.run import verify
from coupons.outcomes import RequestStatus
from tests import broker
from tests.consuming import consume_all, standing_before
from tests.corruption import negative_stock, without_unique_claims
from tests.factories import make_coupon, make_event, make_users

pytestmark = pytest.mark.django_db(transaction=True)


def _found(*, from_topic: bool = True) -> set[Check]:
    report = verify(coupon_id=None, from_topic=from_topic, on_progress=lambda done, whole: None)
    return {finding.check for finding in report.findings}


def _claim(coupon: Coupon, users: list[int]) -> list[submitting.Answer]:
    return submitting.submit([Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users])


@pytest.fixture(autouse=True)
def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is under way here: what is wrong once is wrong."""
    monkeypatch.setattr(run, "SECOND_LOOK_AFTER_S", 0)


@pytest.fixture
def event(topic: str) -> Coupon:
    """A coupon of 3 with 5 claims decided, one of them twice, and one unreadable event."""
    coupon, users = make_coupon(stock=3), make_users(4)
    _claim(coupon, users)
    event_producer().publish([Record(key=b"coupon-1", value=b"{broken")])
    consume_all(BatchProcessor(producer=event_producer()).process)
    return coupon


def test_clean_data_raises_nothing(event: Coupon) -> None:
    assert UserCoupon.objects.count() == 3
    report = verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)
    assert report.findings == []
    assert report.looked_at["events"] >= 4
    assert report.looked_at["userCoupons"] == 3


def test_a_stock_raised_in_between_raises_nothing(event: Coupon) -> None:
    Coupon.objects.filter(pk=event.pk).update(stock=5)
    coupon_cache.forget_all()
    _claim(event, make_users(2))
    consume_all(BatchProcessor(producer=event_producer()).process)
    assert UserCoupon.objects.count() == 5
    assert _found() == set()


def _winner() -> IssueOutcome:
    return IssueOutcome.objects.filter(status=RequestStatus.ISSUED).order_by("claim_rank")[0]


def _lost_outcome(coupon: Coupon) -> None:
    _winner().delete()


def _lost_user_coupon(coupon: Coupon) -> None:
    UserCoupon.objects.filter(request_id=_winner().pk).delete()


def _rank_gap(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(pk=_winner().pk).update(claim_rank=17)


def _wrong_count(coupon: Coupon) -> None:
    Coupon.objects.filter(pk=coupon.pk).update(issued_count=2)


def _half_an_outcome(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(pk=_winner().pk).update(reason="OUT_OF_STOCK")


def _skipped(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(pk=_winner().pk).update(
        status="REJECTED", reason="OUT_OF_STOCK", claim_rank=None
    )


def _ranks_swapped(coupon: Coupon) -> None:
    first, second = IssueOutcome.objects.filter(status="ISSUED").order_by("claim_rank")[:2]
    IssueOutcome.objects.filter(pk=first.pk).update(claim_rank=second.claim_rank)
    IssueOutcome.objects.filter(pk=second.pk).update(claim_rank=first.claim_rank)


def _other_users_outcome(coupon: Coupon) -> None:
    [stranger] = make_users(1)
    winner = _winner()
    UserCoupon.objects.filter(request_id=winner.pk).update(user_id=stranger)
    IssueOutcome.objects.filter(pk=winner.pk).update(user_id=stranger)


def _refused_without_having(coupon: Coupon) -> None:
    IssueOutcome.objects.filter(pk=_winner().pk).update(
        status="REJECTED", reason="ALREADY_REQUESTED", claim_rank=None
    )


def _dead_letter_lost(coupon: Coupon) -> None:
    DeadLetter.objects.all().delete()


def _coupon_row_gone(coupon: Coupon) -> None:
    UserCoupon.objects.all().delete()
    coupon.delete()


def _reserve(coupon: Coupon, request_id: UUID) -> None:
    view = coupon_cache.cached_coupon(coupon.pk, fresh=True)
    assert view is not None
    gate.admit(
        replace(view, stock=view.stock + 1),
        [Claim(coupon_id=view.coupon_id, user_id=999, request_id=request_id)],
    )


def _leak(coupon: Coupon) -> None:
    _reserve(coupon, uuid7())


def _stale(coupon: Coupon) -> None:
    _reserve(coupon, _winner().pk)


def _miscount(coupon: Coupon) -> None:
    get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "issued", 1)


def _earlier_row(coupon: Coupon) -> None:
    get_redis_connection("default").hset(f"{{coupon:{coupon.pk}}}:gate", "epoch", 1)


@pytest.mark.parametrize(
    ("corrupt", "check"),
    [
        (_lost_outcome, Check.EVERY_EVENT_DECIDED),
        (_lost_outcome, Check.COUPON_HAS_OUTCOME),
        (_lost_user_coupon, Check.WINNER_HAS_COUPON),
        (_coupon_row_gone, Check.WINNER_HAS_COUPON),
        (_rank_gap, Check.RANKS_WITHOUT_GAPS),
        (_rank_gap, Check.WINNERS_IN_LOG_ORDER),
        (_wrong_count, Check.ISSUED_COUNT),
        (_half_an_outcome, Check.OUTCOME_IS_WHOLE),
        (_skipped, Check.NOBODY_SKIPPED),
        (_ranks_swapped, Check.WINNERS_IN_LOG_ORDER),
        (_other_users_outcome, Check.OUTCOME_MATCHES_EVENT),
        (_refused_without_having, Check.WINNERS_IN_LOG_ORDER),
        (_dead_letter_lost, Check.DEAD_LETTER_KEPT),
        (_leak, Check.NO_LEAKED_RESERVATION),
        (_stale, Check.NO_STALE_RESERVATION),
        (_miscount, Check.GATE_COUNTS),
        (_earlier_row, Check.GATE_COUNTS),
    ],
)
def test_corruption_is_found(event: Coupon, corrupt: Callable[[Coupon], None], check: Check) -> None:
    corrupt(event)

    assert check in _found()


def test_a_negative_stock_is_found(event: Coupon) -> None:
    with negative_stock(event):
        assert Check.STOCK_NOT_NEGATIVE in _found(from_topic=False)


def test_a_user_with_two_coupons_is_found(event: Coupon) -> None:
    with without_unique_claims():
        held = UserCoupon.objects.all()[0]
        UserCoupon.objects.create(coupon_id=held.coupon_id, user_id=held.user_id)
        found = _found(from_topic=False)
        UserCoupon.objects.filter(request_id=None).delete()

    assert Check.ONE_CLAIM_PER_USER in found


def test_an_accepted_request_without_a_reservation_is_found(event: Coupon) -> None:
    Coupon.objects.filter(pk=event.pk).update(stock=5)
    _claim(event, make_users(1))
    get_redis_connection("default").delete(f"{{coupon:{event.pk}}}:reservations")
    coupon_cache.forget_all()
    _claim(event, make_users(1))  # not decided: nobody consumes

    get_redis_connection("default").delete(f"{{coupon:{event.pk}}}:reservations")

    assert Check.EVERY_REQUEST_RESERVED in _found()


def test_events_decided_behind_which_nothing_was_committed_raise_nothing(topic: str) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    _claim(coupon, users[:2])
    batch = broker.read(topic, count=2)
    standing = standing_before(batch)
    BatchProcessor(producer=event_producer()).process(batch, standing)
    positions.move_back(dict.fromkeys(standing.owned, NextOffset(0)))

    assert _found() == set()
    assert reconcile(dry_run=True, wait_s=0, on_wait=lambda: None).gates_loaded == []


def test_a_holders_second_request_under_way_raises_nothing(topic: str) -> None:
    """Another producer wrote it: it will be rejected, and needs no slot."""
    coupon, users = make_coupon(stock=2), make_users(1)
    _claim(coupon, users)
    consume_all(BatchProcessor(producer=event_producer()).process)
    second = encode(make_event(coupon_id=coupon.pk, user_id=users[0]))
    event_producer().publish([Record(key=partition_key(coupon.pk), value=second)])

    assert _found() == set()


def test_the_command_tells_and_its_exit_code_says(event: Coupon) -> None:
    out = io.StringIO()
    call_command("verify", "--json", "--from-topic", stdout=out)
    assert json.loads(out.getvalue())["clean"] is True

    _wrong_count(event)
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify", stdout=out)
    assert ended.value.code == 1
    assert "ISSUED_COUNT" in out.getvalue()
    with pytest.raises(CommandError, match="there is no coupon 12345678"):
        call_command("verify", "--coupon", "12345678")


def test_without_redis_not_everything_was_checked(event: Coupon, redis_away: pytest.MonkeyPatch) -> None:
    out = io.StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("verify", stdout=out)

    assert ended.value.code == 1
    assert "NOT CHECKED: Redis was not checked, it does not answer" in out.getvalue()
    assert "0 findings, and not everything was checked" in out.getvalue()
