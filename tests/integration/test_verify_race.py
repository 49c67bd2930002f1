"""verify recomputes who won from the log's order, and believes what operators may do meanwhile.

The consumer's own rule decides; the log is what it was given, so that no broker is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from msgspec import structs

from coupons.eventlog.backlog import Positions
from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import EndOffset, FirstOffset, NextOffset, Place
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, DeadLetter, IssueOutcome, User, UserCoupon
from coupons.operations import resetting
from coupons.operations.verification import database, letters
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.log import LogCheck
from coupons.outcomes import Decision
from tests.factories import make_coupon, make_event, make_users, moved

pytestmark = pytest.mark.django_db(transaction=True)


class Log:
    """A topic of two partitions; ``decide`` hands what was written over, as one batch."""

    def __init__(self) -> None:
        self.written: list[IssueRequest] = []
        self._ends = [0, 0]
        self._batch: list[IssueRequest] = []

    def write(self, coupon: Coupon, *users: int, partition: int = 0, **fields: Any) -> list[IssueRequest]:
        events = [make_event(coupon_id=coupon.pk, user_id=user, **fields) for user in users]
        return self.append(*(IssueRequest(event=event, place=Place(partition, 0)) for event in events))

    def append(self, *requests: IssueRequest) -> list[IssueRequest]:
        placed = []
        for request in requests:
            placed.append(moved(request, offset=self._ends[request.place.partition]))
            self._ends[request.place.partition] += 1
        self._batch += placed
        self.written += placed
        return placed

    def decide(self) -> None:
        batch, self._batch = self._batch, []
        issue_coupons(batch)

    def check(self, *, committed: int | None = None, first: int = 0) -> tuple[list[Finding], LogCheck]:
        """``committed``: in each partition; all of it by default. ``first``: what retention has left."""
        check = LogCheck(
            {
                p: Positions(
                    first=FirstOffset(first),
                    next_to_decide=NextOffset(end if committed is None else committed),
                    end=EndOffset(end),
                )
                for p, end in enumerate(self._ends)
            },
            coupon_id=None,
        )
        for request in self.written:
            if request.place.offset >= first:
                check.add(request.place, request)
        findings = [*check.findings(), *(f for c in Coupon.objects.all() for f in database.check(c))]
        return findings, check

    def found(self, **options: int) -> set[Check]:
        return {finding.check for finding in self.check(**options)[0]}


@pytest.fixture
def log() -> Log:
    return Log()


# --- what is wrong ---------------------------------------------------------------------------------------


def _raced(log: Log) -> list[IssueRequest]:
    """Four claims on a stock of two, in one transaction."""
    coupon, users = make_coupon(stock=2), make_users(4)
    requests = log.write(coupon, *users)
    log.decide()
    assert log.found() == set()
    return requests


def _pass_over(skipped: IssueRequest, instead: IssueRequest, **told: Any) -> None:
    """Give the second winner's coupon to the next one."""
    coupon_of = IssueOutcome.objects.get(pk=skipped.event.request_id).user_coupon_id
    IssueOutcome.objects.filter(pk=instead.event.request_id).update(
        status="ISSUED", reason=None, claim_rank=2, stock_left=0, user_coupon_id=coupon_of
    )
    IssueOutcome.objects.filter(pk=skipped.event.request_id).update(
        status="REJECTED", claim_rank=None, user_coupon_id=None, **told
    )
    assert coupon_of is not None
    UserCoupon.objects.filter(pk=coupon_of).update(
        user_id=instead.event.user_id, request_id=instead.event.request_id
    )


@pytest.mark.parametrize(
    ("told", "check"),
    [
        ({"reason": "OUT_OF_STOCK", "stock_left": 0}, Check.STOCK_ADDS_UP),
        ({"reason": "COUPON_CLOSED", "stock_left": 1}, Check.NOBODY_SKIPPED),
        ({"reason": "USER_NOT_FOUND", "stock_left": 1}, Check.NOBODY_SKIPPED),
        ({"reason": "USER_NOT_FOUND", "stock_left": 0}, Check.STOCK_ADDS_UP),
        ({"reason": "ALREADY_REQUESTED", "stock_left": 1}, Check.WINNERS_IN_LOG_ORDER),
    ],
)
def test_somebody_passed_over_is_found(log: Log, told: dict[str, Any], check: Check) -> None:
    _, second, third, _ = _raced(log)
    User.objects.update(created_at=timezone.now() - timedelta(days=3))

    _pass_over(second, third, **told)

    assert check in log.found()


def test_a_user_just_made_who_was_told_there_is_none_is_counted(log: Log) -> None:
    """It may have been made after the decision: no finding, and not silence either."""
    _, second, third, _ = _raced(log)

    _pass_over(second, third, reason="USER_NOT_FOUND", stock_left=1)

    findings, check = log.check()
    assert findings == []
    assert check.noted.perhaps_known_users == 1


@pytest.mark.parametrize("reason", ["USER_NOT_FOUND", "COUPON_CLOSED", "OUT_OF_STOCK"])
def test_a_winner_told_anything_but_already_requested_later_is_found(log: Log, reason: str) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    log.write(coupon, user)
    log.decide()
    [again] = log.write(coupon, user)
    log.decide()
    assert log.found() == set()

    IssueOutcome.objects.filter(pk=again.event.request_id).update(reason=reason)

    assert Check.WINNERS_IN_LOG_ORDER in log.found()


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"kafka_offset": 999}, Check.OUTCOME_MATCHES_EVENT),
        ({"kafka_partition": 77}, Check.OUTCOME_MATCHES_EVENT),
        ({"kafka_partition": None, "kafka_offset": None}, Check.OUTCOME_IS_WHOLE),
        ({"user_coupon_id": 12345}, Check.WINNER_HAS_COUPON),
        ({"user_coupon_id": None}, Check.WINNER_HAS_COUPON),
        ({"stock_left": None}, Check.OUTCOME_IS_WHOLE),
        ({"stock_left": -1}, Check.OUTCOME_IS_WHOLE),
        ({"coupon_epoch": None}, Check.OUTCOME_IS_WHOLE),
        ({"coupon_epoch": 1}, Check.ISSUED_COUNT),
    ],
)
def test_a_wrong_value_in_an_outcome_is_found(log: Log, change: dict[str, Any], check: Check) -> None:
    first, *_ = _raced(log)

    IssueOutcome.objects.filter(pk=first.event.request_id).update(**change)

    assert check in log.found()


def test_a_winner_whose_event_is_not_in_the_log_is_found(log: Log) -> None:
    coupon, users = make_coupon(stock=3), make_users(3)
    requests = log.write(coupon, *users)
    log.decide()

    log.written.remove(requests[1])

    assert Check.WINNERS_IN_LOG_ORDER in log.found()


def _made_up_winner(coupon: Coupon, *, user: int, rank: int, offset: int, **fields: Any) -> IssueOutcome:
    """An outcome, a user coupon and a count that agree with each other, and no event."""
    now = timezone.now()
    values = {"processed_at": now, "requested_at": now, "kafka_partition": 0, **fields}
    request_id = make_event(coupon_id=coupon.pk, user_id=user).request_id
    held = UserCoupon.objects.create(
        coupon_id=coupon.pk, user_id=user, request_id=request_id, issued_at=values["processed_at"]
    )
    Coupon.objects.filter(pk=coupon.pk).update(issued_count=rank)
    return IssueOutcome.objects.create(
        request_id=request_id,
        coupon_id=coupon.pk,
        user_id=user,
        status="ISSUED",
        coupon_epoch=int(coupon.epoch),
        user_coupon_id=held.pk,
        claim_rank=rank,
        stock_left=0,
        kafka_offset=offset,
        **values,
    )


@pytest.mark.parametrize("offset", [3, 4, 1_000])
def test_a_winner_made_up_is_found(log: Log, offset: int) -> None:
    """On a loser's place, beyond the log's end, or far beyond: six issued of a stock of five."""
    coupon, users = make_coupon(stock=2), make_users(5)
    log.write(coupon, *users[:4])
    log.decide()
    assert log.found() == set()

    _made_up_winner(coupon, user=users[4], rank=3, offset=offset)

    assert log.found() == {Check.OUTCOME_HAS_EVENT}


def test_a_second_outcome_on_a_losers_place_is_found(log: Log) -> None:
    *_, loser = _raced(log)
    [stranger] = make_users(1)
    twin = IssueOutcome.objects.get(pk=loser.event.request_id)
    twin.pk = make_event(coupon_id=loser.event.coupon_id, user_id=stranger).request_id
    twin.user_id = stranger
    twin.save(force_insert=True)

    assert log.found() == {Check.OUTCOME_HAS_EVENT}


def test_a_good_event_decided_as_a_dead_letter_is_found(log: Log) -> None:
    *_, loser = _raced(log)

    IssueOutcome.objects.filter(pk=loser.event.request_id).update(
        status="FAILED", reason="INVALID_FIELDS", stock_left=None
    )

    assert {finding.check for finding in letters.check(None)} == {Check.FAILURE_HAS_LETTER}
    assert Check.DEAD_LETTER_KEPT in log.found()


def _give_up(request: IssueRequest, **fields: Any) -> None:
    values = {
        "status": "REJECTED",
        "reason": "BROKER_UNAVAILABLE",
        "processed_at": timezone.now(),
        "stock_left": None,
        "kafka_partition": None,
        "kafka_offset": None,
        **fields,
    }
    IssueOutcome.objects.filter(pk=request.event.request_id).update(**values)


def test_an_event_passed_over_and_told_never_published_is_found(log: Log) -> None:
    """What stands behind it in the log was decided before it was given up."""
    *_, loser = _raced(log)
    log.write(Coupon.objects.get(pk=loser.event.coupon_id), *make_users(1))
    log.decide()

    _give_up(loser, processed_at=timezone.now() + timedelta(seconds=18))

    assert log.found() == {Check.GIVEN_UP_HAS_NO_EVENT}


def test_an_event_that_came_after_it_was_given_up_is_noted(log: Log) -> None:
    """Its API was frozen between reserving and publishing."""
    *_, loser = _raced(log)

    _give_up(loser)

    findings, check = log.check()
    assert findings == []
    assert check.noted.given_up_perhaps == 1


@pytest.mark.parametrize("milliseconds", [-1, 1, 3_600_000])
def test_another_time_than_the_events_is_found(log: Log, milliseconds: int) -> None:
    first, *_ = _raced(log)
    at = IssueOutcome.objects.get(pk=first.event.request_id).requested_at + timedelta(
        milliseconds=milliseconds
    )

    IssueOutcome.objects.filter(pk=first.event.request_id).update(requested_at=at)

    assert log.found() == {Check.OUTCOME_MATCHES_EVENT}


def test_a_decision_dated_otherwise_within_a_transaction_is_found(log: Log) -> None:
    *_, third, _ = _raced(log)

    IssueOutcome.objects.filter(pk=third.event.request_id).update(processed_at=timezone.now())

    assert log.found() == {Check.TRANSACTIONS_IN_LOG_ORDER}


def test_a_decision_of_another_row_after_those_of_this_one_is_found(log: Log) -> None:
    *_, last = _raced(log)

    IssueOutcome.objects.filter(pk=last.event.request_id).update(coupon_epoch=1)

    assert log.found() == {Check.OUTCOME_MATCHES_EVENT}


# --- what is not wrong -----------------------------------------------------------------------------------


def _sold_out_and_open_again(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    Coupon.objects.filter(pk=coupon.pk).update(stock=0)
    log.write(coupon, users[2], users[3])
    log.decide()
    Coupon.objects.filter(pk=coupon.pk).update(stock=1)


def _closed_and_opened(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")
    log.write(coupon, users[2], users[3])
    log.decide()
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="OPENED")


def _outside_its_window(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    now = timezone.now()
    Coupon.objects.filter(pk=coupon.pk).update(opens_at=now, closes_at=now + timedelta(hours=1))
    now_ms = int(now.timestamp() * 1000)
    log.write(coupon, users[2], timestamp_ms=now_ms - 5)
    log.write(coupon, users[3], timestamp_ms=now_ms + 7_200_000)


def _a_user_made_later(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    user = User.objects.order_by("-pk")[0].pk + 1000
    log.write(coupon, user)
    log.decide()
    User.objects.create(user_id=user, name="late")


def _asked_twice_and_delivered_thrice(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    log.write(coupon, users[0], users[1])
    log.append(*log.written)
    log.append(*log.written)


def _in_two_partitions(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    log.write(coupon, users[2], partition=1)
    log.write(coupon, users[0], users[3], partition=0)
    log.write(coupon, users[0], users[1], partition=1)


def _a_dead_letter_sent_again(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    [letter] = log.write(coupon, users[2])
    IssueOutcome.objects.create(
        request_id=letter.event.request_id,
        coupon_id=coupon.pk,
        user_id=users[2],
        status="FAILED",
        reason="COUPON_NOT_FOUND",
        requested_at=timezone.now(),
        kafka_partition=letter.place.partition,
        kafka_offset=letter.place.offset,
    )
    log.decide()
    DeadLetter.objects.create(
        state="REPLAYED",
        reason="COUPON_NOT_FOUND",
        request_id=letter.event.request_id,
        original_partition=letter.place.partition,
        original_offset=letter.place.offset,
    )
    log.write(coupon, users[3])
    log.append(structs.replace(letter, is_second_chance=True))


def _a_coupon_from_another_application(log: Log, coupon: Coupon, users: Sequence[int]) -> None:
    UserCoupon.objects.create(coupon_id=coupon.pk, user_id=users[2])
    log.write(coupon, users[2])


@pytest.mark.parametrize(
    "meanwhile",
    [
        _sold_out_and_open_again,
        _closed_and_opened,
        _outside_its_window,
        _a_user_made_later,
        _asked_twice_and_delivered_thrice,
        _in_two_partitions,
        _a_dead_letter_sent_again,
        _a_coupon_from_another_application,
    ],
)
def test_what_may_happen_in_between_raises_nothing(
    log: Log, meanwhile: Callable[[Log, Coupon, Sequence[int]], None]
) -> None:
    coupon, users = make_coupon(stock=3), make_users(6)
    log.write(coupon, *users[:2])
    log.decide()

    meanwhile(log, coupon, users)
    log.write(coupon, *users[4:])
    log.decide()

    findings, _ = log.check()
    assert findings == []
    assert log.found(first=3) == set(), "retention took the beginning"
    assert log.found(committed=0) == set(), "the offsets were set back"


def test_the_stocks_changes_from_outside_are_counted(log: Log) -> None:
    coupon, users = make_coupon(stock=3), make_users(6)
    log.write(coupon, *users[:2])
    log.decide()
    _sold_out_and_open_again(log, coupon, users)
    log.write(coupon, *users[4:])
    log.decide()

    assert log.check()[1].noted.stock_changes == 2


@pytest.mark.parametrize("hours", [-9, -1 / 1800, 1 / 1800, 9])
def test_clocks_and_time_zones_raise_nothing(log: Log, hours: float) -> None:
    """The coupon's row is made by the database's clock, or typed in its time zone."""
    coupon, users = make_coupon(stock=2, created_at=timezone.now() + timedelta(hours=hours)), make_users(3)
    log.write(coupon, *users, timestamp_ms=1)  # and the API's clock stands still
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert check.noted.of_other_rows == 0

    IssueOutcome.objects.all()[0].delete()
    assert Check.EVERY_EVENT_DECIDED in log.found()


def test_what_a_reset_deleted_raises_nothing_and_what_came_after_is_checked(log: Log) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    log.write(coupon, *users, timestamp_ms=4_000_000_000_000)  # by a clock that is ahead
    log.decide()
    resetting.reset(coupon.pk, stock=2)
    log.write(coupon, *users)
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert check.noted.before_reset == 3

    IssueOutcome.objects.get(reason=Decision.OUT_OF_STOCK.value).delete()
    assert Check.EVERY_EVENT_DECIDED in log.found()


def test_a_row_made_anew_begins_at_nothing(log: Log) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    log.write(coupon, *users)
    log.decide()
    UserCoupon.objects.all().delete()
    Coupon.objects.all().delete()
    Coupon.objects.create(coupon_id=coupon.pk, description="new", discount_amount=1, stock=1)
    log.write(coupon, *users)
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert check.noted.of_other_rows == 3


@pytest.mark.parametrize("minutes", [-5, 5])
def test_clocks_of_consumers_that_jump_raise_nothing(
    log: Log, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupon, users = make_coupon(stock=2), make_users(6)
    log.write(coupon, *users[:2])
    log.decide()
    with monkeypatch.context() as jumped:
        now = timezone.now
        jumped.setattr(timezone, "now", lambda: now() + timedelta(minutes=minutes))
        log.write(coupon, *users[2:4])
        log.decide()
    log.write(coupon, *users[4:])
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert list(check.noted.notes()) == []


def test_a_clock_set_back_by_hours_is_noted(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=2), make_users(2)
    log.write(coupon, users[0])
    log.decide()
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() - timedelta(hours=2))
    log.write(coupon, users[1])
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert check.noted.clocks_back == 1


def test_outcomes_of_a_topic_before_this_one_are_noted(log: Log) -> None:
    """The topic was made anew, or the database taken to another cluster: the log begins at 0 again."""
    coupon, users = make_coupon(stock=4), make_users(9)
    log.write(coupon, *users[:3])
    log.decide()
    anew = Log()
    anew.write(coupon, *users[3:])
    anew.decide()

    findings, check = anew.check()
    assert findings == []
    assert list(check.noted.notes()) == [
        "3 outcomes have no event in this log: they are of a topic before it, or were made up"
    ]


def test_what_was_decided_since_the_log_was_read_raises_nothing(log: Log) -> None:
    coupon, users = make_coupon(stock=2), make_users(4)
    log.write(coupon, *users[:3])
    log.decide()
    _, check = log.check()
    [late] = log.write(coupon, users[3])
    log.decide()
    entry = late.place, late

    assert list(check.findings(read_on=lambda offsets: [entry] if offsets[0] == 3 else [])) == []
    assert list(check.noted.notes()) == []


def test_a_coupon_in_several_partitions_is_noted(log: Log) -> None:
    coupon, users = make_coupon(stock=2), make_users(2)
    log.write(coupon, users[0], partition=0)
    log.write(coupon, users[1], partition=1)
    log.decide()

    findings, check = log.check()
    assert findings == []
    assert check.noted.spread == [coupon.pk]


def test_stock_changed_after_the_last_decision_is_noted(log: Log) -> None:
    coupon, users = make_coupon(stock=2), make_users(1)
    log.write(coupon, *users)
    log.decide()
    Coupon.objects.filter(pk=coupon.pk).update(stock=3)

    findings, check = log.check()
    assert findings == []
    assert check.noted.stocks == [f"coupon {coupon.pk}: stock is 3, the last decision left 1"]


def test_what_could_not_be_stored_and_what_was_lost_raise_nothing(log: Log) -> None:
    """The one is a dead letter at its place; the other has neither place nor letter."""
    coupon, users = make_coupon(stock=2), make_users(3)
    [unstorable] = log.write(coupon, users[0])
    log._batch.clear()
    log.write(coupon, users[1])
    log.decide()
    values = {"coupon_id": coupon.pk, "status": "FAILED"}
    request_id = unstorable.event.request_id
    IssueOutcome.objects.create(
        request_id=request_id,
        user_id=users[0],
        reason="UNSTORABLE",
        requested_at=datetime.fromtimestamp(unstorable.event.timestamp_ms / 1000, tz=UTC),
        kafka_partition=unstorable.place.partition,
        kafka_offset=unstorable.place.offset,
        **values,
    )
    DeadLetter.objects.create(
        reason="UNSTORABLE",
        request_id=request_id,
        original_topic=settings.CONFIG.kafka.topic,
        original_partition=unstorable.place.partition,
        original_offset=unstorable.place.offset,
    )
    lost = make_event(coupon_id=coupon.pk, user_id=users[2])
    IssueOutcome.objects.create(
        request_id=lost.request_id,
        user_id=users[2],
        reason="EVENT_LOST",
        requested_at=timezone.now(),
        coupon_epoch=int(coupon.epoch),
        **values,
    )

    findings, check = log.check()
    assert [*findings, *letters.check(None)] == []
    assert list(check.noted.notes()) == []


def test_a_request_told_lost_whose_event_is_there_is_found(log: Log) -> None:
    *_, loser = _raced(log)

    _give_up(loser, status="FAILED", reason="EVENT_LOST")

    assert log.check()[1].noted.given_up_perhaps == 1
    _give_up(loser, status="FAILED", reason="EVENT_LOST", processed_at=_moment_of(log.written[0]))
    assert log.found() == {Check.GIVEN_UP_HAS_NO_EVENT}


def _moment_of(request: IssueRequest) -> datetime:
    return IssueOutcome.objects.get(pk=request.event.request_id).processed_at
