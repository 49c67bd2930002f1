"""Claims in lists: each is answered in its place; a slot whose event is not in the log is given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection
from django.utils import timezone
from django_redis import get_redis_connection
from redis.exceptions import ConnectionError as RedisConnectionError
from uuid_utils.compat import uuid7

from coupons import coupon_cache, selectors
from coupons.claim import Claim
from coupons.claims import screening, submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Accepted, Answer, submit
from coupons.eventlog import backlog
from coupons.eventlog.backlog import Backlog, LogUnavailable
from coupons.eventlog.delivery import Acknowledged, NotPublished, Receipt, Record, Uncertain
from coupons.eventlog.events import decode
from coupons.eventlog.place import NextOffset, Place
from coupons.gate import disclosed, leaked_slots, redis_client
from coupons.gate.admission import GateUnavailable, gate
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.outcomes import Code
from tests.factories import make_coupon, make_requests, make_users
from tests.in_parts import Publisher

pytestmark = pytest.mark.django_db


@dataclass
class Broker(Publisher):
    """Stands in for the producer: answers each record with ``receipt`` and keeps the acknowledged."""

    receipt: Callable[[int], Receipt] = lambda offset: Acknowledged(place=Place(0, offset))
    records: list[Record] = field(default_factory=list)
    calls: int = 0

    def publish(self, records: Sequence[Record]) -> list[Receipt]:
        self.calls += 1
        receipts = [self.receipt(len(self.records) + n) for n in range(len(records))]
        self.records += records
        return receipts


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    stands_in = Broker()
    monkeypatch.setattr(submitting, "event_producer", lambda: stands_in)
    monkeypatch.setattr(backlog, "read", lambda **_: Backlog(requests=[], next_to_decide={0: NextOffset(0)}))
    return stands_in


def claim(coupon_id: int, user_id: int) -> Claim:
    return Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())


def told(answers: Sequence[Answer]) -> list[Code | None]:
    """The codes; None for an accepted claim."""
    return [answer.code if isinstance(answer, Refused) else None for answer in answers]


def test_each_claim_of_a_mixed_list_is_answered_in_its_place(broker: Broker) -> None:
    scarce, plenty, closed = make_coupon(stock=1), make_coupon(), make_coupon(coupon_status="CLOSED")
    users = make_users(4)
    UserCoupon.objects.create(coupon=plenty, user_id=users[3])
    claims = [
        claim(scarce.pk, users[0]),
        claim(plenty.pk, users[0]),
        claim(scarce.pk, users[1]),
        claim(closed.pk, users[0]),
        claim(987_654, users[0]),
        claim(plenty.pk, 987_654),
        claim(plenty.pk, users[0]),
        claim(plenty.pk, users[3]),
        claim(plenty.pk, users[2]),
    ]

    answers = submit(claims)

    assert told(answers) == [
        None,
        None,
        Code.OUT_OF_STOCK,
        Code.COUPON_CLOSED,
        Code.COUPON_NOT_FOUND,
        Code.USER_NOT_FOUND,
        Code.ALREADY_REQUESTED,
        Code.ALREADY_REQUESTED,
        None,
    ]
    assert [a.request_id for a in answers if isinstance(a, Accepted)] == [
        claims[n].request_id for n in (0, 1, 8)
    ]
    assert answers[6] == Refused(code=Code.ALREADY_REQUESTED, request_id=claims[1].request_id)
    assert answers[7] == Refused(code=Code.ALREADY_REQUESTED, request_id=None)


def test_an_empty_list_is_answered_with_one(broker: Broker) -> None:
    assert submit([]) == []
    assert broker.calls == 0


def test_only_what_was_accepted_is_published_in_the_documented_form(broker: Broker) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    claims = [claim(coupon.pk, user) for user in users]

    submit(claims)

    assert [record.key for record in broker.records] == [b"coupon-%d" % coupon.pk] * 2
    events = [decode(record.value) for record in broker.records]
    assert [event.request_id for event in events] == [claim.request_id for claim in claims[:2]]
    assert [event.user_id for event in events] == users[:2]
    assert {record.topic for record in broker.records} == {None}


def test_a_list_is_published_in_one_go(broker: Broker) -> None:
    coupons, users = [make_coupon(), make_coupon()], make_users(5)

    submit([claim(coupon.pk, user) for coupon in coupons for user in users])

    assert broker.calls == 1


def test_a_user_who_has_the_coupon_is_told_the_request_that_won_it(broker: Broker) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    [request] = make_requests(coupon.pk, [user])
    issue_coupons([request])

    assert submit([claim(coupon.pk, user)]) == [
        Refused(code=Code.ALREADY_REQUESTED, request_id=request.event.request_id)
    ]


@pytest.mark.parametrize(("opens_in_h", "closes_in_h"), [(1, 2), (-2, -1)])
def test_outside_its_window_a_coupon_is_closed(broker: Broker, opens_in_h: int, closes_in_h: int) -> None:
    now = timezone.now()
    coupon = make_coupon(
        opens_at=now + timedelta(hours=opens_in_h), closes_at=now + timedelta(hours=closes_in_h)
    )

    assert told(submit([claim(coupon.pk, make_users(1)[0])])) == [Code.COUPON_CLOSED]


def test_a_slot_is_given_back_when_nothing_was_published(broker: Broker) -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    broker.receipt = lambda offset: NotPublished(error="away")

    assert submit([claim(coupon.pk, users[0])]) == [Refused(code=Code.BROKER_UNAVAILABLE, request_id=None)]

    assert gate.reserved(coupon.pk) == 0
    broker.receipt = lambda offset: Acknowledged(place=Place(0, offset))
    assert told(submit([claim(coupon.pk, users[0]), claim(coupon.pk, users[1])])) == [None, Code.OUT_OF_STOCK]


def test_a_request_that_somebody_was_told_of_has_an_outcome_though_nothing_was_published(
    broker: Broker,
) -> None:
    coupon, [user, other] = make_coupon(stock=2), make_users(2)
    broker.receipt = lambda offset: NotPublished(error="away")
    first, again, alone = claim(coupon.pk, user), claim(coupon.pk, user), claim(coupon.pk, other)

    answers = submit([first, again, alone])

    assert answers[1] == Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id)
    outcome = IssueOutcome.objects.get()
    assert (outcome.pk, outcome.status, outcome.reason) == (
        first.request_id,
        "REJECTED",
        "BROKER_UNAVAILABLE",
    )
    assert gate.reserved(coupon.pk) == 0
    broker.receipt = lambda offset: Acknowledged(place=Place(0, offset))
    assert told(submit([claim(coupon.pk, user)])) == [None]


def test_a_slot_is_kept_while_it_is_uncertain_whether_the_event_is_in_the_log(broker: Broker) -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    broker.receipt = lambda offset: Uncertain(error="timeout")
    first = claim(coupon.pk, users[0])

    assert submit([first]) == [Refused(code=Code.BROKER_UNAVAILABLE, request_id=first.request_id)]

    broker.receipt = lambda offset: Acknowledged(place=Place(0, offset))
    assert submit([claim(coupon.pk, users[0])]) == [
        Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id)
    ]
    assert told(submit([claim(coupon.pk, users[1])])) == [Code.OUT_OF_STOCK]


def test_mixed_receipts_are_told_apart(broker: Broker) -> None:
    coupon, users = make_coupon(stock=3), make_users(3)
    receipts: list[Receipt] = [
        NotPublished(error="full"),
        Acknowledged(place=Place(0, 0)),
        Uncertain(error="timeout"),
    ]
    broker.receipt = lambda offset: receipts[offset]
    claims = [claim(coupon.pk, user) for user in users]

    assert submit(claims) == [
        Refused(code=Code.BROKER_UNAVAILABLE),
        Accepted(request_id=claims[1].request_id),
        Refused(code=Code.BROKER_UNAVAILABLE, request_id=claims[2].request_id),
    ]
    assert gate.reserved(coupon.pk) == 2


def test_a_rejected_user_may_ask_again(broker: Broker) -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    first = claim(coupon.pk, user)
    submit([first])
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")
    [request] = make_requests(coupon.pk, [user])
    event = decode(broker.records[0].value)
    assert event.request_id == first.request_id
    issue_coupons([type(request)(event=event, place=Place(0, 0))])  # rejected; the gate is not told
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="OPENED")
    coupon_cache.forget_all()

    assert told(submit([claim(coupon.pk, user)])) == [None]


def test_without_redis_the_database_decides(broker: Broker, redis_away: pytest.MonkeyPatch) -> None:
    coupon, sold_out, users = make_coupon(stock=5), make_coupon(stock=0), make_users(2)
    UserCoupon.objects.create(coupon=coupon, user_id=users[1])

    answers = submit([claim(coupon.pk, users[0]), claim(coupon.pk, users[1]), claim(sold_out.pk, users[0])])

    assert told(answers) == [None, Code.ALREADY_REQUESTED, Code.OUT_OF_STOCK]
    assert len(broker.records) == 1


def test_without_redis_the_database_keeps_who_was_accepted(
    broker: Broker, redis_away: pytest.MonkeyPatch
) -> None:
    """They have no reservation: were their events deleted, nobody would know that they were accepted."""
    coupon, sold_out, [user] = make_coupon(stock=5), make_coupon(stock=0), make_users(1)
    accepted = claim(coupon.pk, user)

    submit([accepted, claim(sold_out.pk, user)])

    assert disclosed.suspects(10) == [accepted]


def test_without_redis_a_claim_that_cannot_be_kept_is_accepted_all_the_same(
    broker: Broker, redis_away: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As while the database is read-only: the log has it."""
    coupon, [user] = make_coupon(), make_users(1)

    def refuse(claims: Collection[Claim]) -> None:
        raise OperationalError(1290, "read-only, for the test")

    redis_away.setattr(disclosed, "keep", refuse)

    assert told(submit([claim(coupon.pk, user)])) == [None]
    assert "1 requests that answers name are not kept" in caplog.text


def test_without_redis_a_failed_publish_is_told_as_with_it(
    broker: Broker, redis_away: pytest.MonkeyPatch
) -> None:
    coupon, users = make_coupon(), make_users(1)
    broker.receipt = lambda offset: NotPublished(error="away")

    assert told(submit([claim(coupon.pk, users[0])])) == [Code.BROKER_UNAVAILABLE]
    assert disclosed.suspects(10) == [], "nobody was told of it: it needs no outcome"


def test_redis_lost_between_reserving_and_giving_back_is_no_error(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupon, users = make_coupon(), make_users(1)

    def refuse() -> None:
        raise RedisConnectionError("away, for the test")

    def lose_redis(offset: int) -> Receipt:
        with pytest.raises(GateUnavailable):
            gate.guarded(refuse)
        return NotPublished(error="away")

    monkeypatch.setattr(redis_client, "RETRY_REDIS_AFTER_S", 60.0)
    broker.receipt = lose_redis

    assert told(submit([claim(coupon.pk, users[0])])) == [Code.BROKER_UNAVAILABLE]


def test_redis_and_the_log_away_is_a_refusal_that_takes_no_slot(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(
        *, timeout_s: float, coupon_id: int | None = None, without: Collection[int] = (), **_: object
    ) -> Backlog:
        raise LogUnavailable("away, for the test")

    monkeypatch.setattr(backlog, "read", away)
    coupon, users = make_coupon(), make_users(1)

    assert submit([claim(coupon.pk, users[0])]) == [Refused(code=Code.BROKER_UNAVAILABLE)]

    assert broker.records == []
    assert gate.reserved(coupon.pk) is None


def test_a_flush_forgets_no_accepted_request(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    first = claim(coupon.pk, users[0])
    submit([first])
    in_the_log = make_requests(coupon.pk, users[:1])
    event = decode(broker.records[0].value)
    undecided = Backlog(
        requests=[type(in_the_log[0])(event=event, place=Place(0, 0))], next_to_decide={0: NextOffset(0)}
    )
    monkeypatch.setattr(backlog, "read", lambda **_: undecided)

    get_redis_connection("default").flushdb()

    assert submit([claim(coupon.pk, users[0])]) == [
        Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id)
    ]
    assert told(submit([claim(coupon.pk, user) for user in users[1:]])) == [None, Code.OUT_OF_STOCK]


def test_on_the_real_broker_an_accepted_claim_is_in_the_log(topic: str) -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    claims = [claim(coupon.pk, user) for user in users]

    assert told(submit(claims)) == [None, None, Code.OUT_OF_STOCK]

    in_the_log = backlog.read(timeout_s=5).requests
    assert claims[0].request_id in [request.event.request_id for request in in_the_log]


class Clock:
    """Stands in for the monotonic clock; jumps when told to, as after a process was frozen."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.jumped_s

    def time_ns(self) -> int:
        return time.time_ns()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(submitting, "time", clock)
    return clock


def test_a_claim_held_up_after_reserving_is_not_published_and_gives_its_slot_back(
    broker: Broker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    submitting.warm_up({coupon.pk})
    admit = gate.admit_each

    def admit_and_freeze(*args: Any) -> Any:
        admissions = admit(*args)
        clock.jumped_s = 60
        return admissions

    monkeypatch.setattr(gate, "admit_each", admit_and_freeze)

    assert submit([claim(coupon.pk, user)]) == [Refused(code=Code.BROKER_UNAVAILABLE)]

    assert broker.records == []
    assert gate.reserved(coupon.pk) == 0


@pytest.mark.parametrize("held_up_s", [60, 1.1])  # whoever gives slots back may be less patient than we are
def test_a_claim_that_was_given_up_while_it_was_published_is_not_told_yes(
    broker: Broker, clock: Clock, held_up_s: float
) -> None:
    coupon, users = make_coupon(), make_users(2)
    given_up, other = (claim(coupon.pk, user) for user in users)

    def freeze_and_acknowledge(offset: int) -> Receipt:
        if not clock.jumped_s:
            clock.jumped_s = held_up_s
            leaked_slots.give_back([given_up])
        return Acknowledged(place=Place(0, offset))

    broker.receipt = freeze_and_acknowledge

    assert submit([given_up, other]) == [
        Refused(code=Code.BROKER_UNAVAILABLE, request_id=given_up.request_id),
        Accepted(request_id=other.request_id),
    ]


def refusing(error: Error, beginning: str) -> Callable[..., Any]:
    """A database that answers statements about outcomes with this error."""

    def execute_or_fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(beginning) and IssueOutcome._meta.db_table in sql:
            raise error
        return execute(sql, params, many, context)

    return execute_or_fail


ERRORS = [OperationalError("away"), InterfaceError("closed"), DatabaseError("anything else")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_published_claims_are_told_their_ids_where_the_database_cannot_tell_who_was_given_up(
    broker: Broker, clock: Clock, error: Error
) -> None:
    coupon, users = make_coupon(), make_users(2)
    claims = [claim(coupon.pk, user) for user in users]

    def take_long(offset: int) -> Receipt:
        clock.jumped_s = 1.1
        return Acknowledged(place=Place(0, offset))

    broker.receipt = take_long

    with connection.execute_wrapper(refusing(error, "SELECT")):
        answers = submit(claims)

    assert answers == [Refused(code=Code.BROKER_UNAVAILABLE, request_id=each.request_id) for each in claims]
    assert gate.reserved(coupon.pk) == 2


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_slot_that_the_database_cannot_give_back_costs_the_group_no_answer(
    broker: Broker, error: Error
) -> None:
    coupon, users = make_coupon(), make_users(2)
    first, again, other = claim(coupon.pk, users[0]), claim(coupon.pk, users[0]), claim(coupon.pk, users[1])
    broker.receipt = lambda offset: (
        Acknowledged(place=Place(0, offset)) if offset else NotPublished(error="full")
    )

    with connection.execute_wrapper(refusing(error, "INSERT")):
        answers = submit([first, again, other])

    assert answers == [
        Refused(code=Code.BROKER_UNAVAILABLE),
        Refused(code=Code.ALREADY_REQUESTED, request_id=first.request_id),
        Accepted(request_id=other.request_id),
    ]
    assert gate.reserved(coupon.pk) == 2  # the leaked one is found later


def test_a_request_decided_while_it_is_looked_up_is_not_taken_for_over() -> None:
    """Issued between the two questions: asked the other way round, it would look decided without a coupon."""
    coupon, [user] = make_coupon(), make_users(1)
    [request] = make_requests(coupon.pk, [user])
    asked: list[str] = []

    def decide_after_the_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if "SELECT" in sql and not asked:
            asked.append(sql)
            issue_coupons([request])
        return result

    with connection.execute_wrapper(decide_after_the_first):
        decided = selectors.decided([request.event.claim])

    assert asked
    assert decided == {}
    assert UserCoupon.objects.get().user_id == user


class HangingPartition(Broker):
    """Each other record is acknowledged at once, the others are refused for certain at the end."""

    def publish_in_parts(
        self, records: Sequence[Record], *, since: float | None = None
    ) -> Iterator[dict[int, Receipt]]:
        receipts = self.publish(records)
        yield {index: receipts[index] for index in range(0, len(records), 2)}
        yield {index: NotPublished(error="held") for index in range(1, len(records), 2)}


def test_claims_are_answered_in_the_parts_in_which_they_were_published(
    monkeypatch: pytest.MonkeyPatch, broker: Broker
) -> None:
    monkeypatch.setattr(submitting, "event_producer", HangingPartition)
    coupon, users = make_coupon(stock=4), make_users(4)
    submitting.warm_up({coupon.pk})
    screened = screening.screen([claim(coupon.pk, user) for user in users])

    now = time.monotonic()
    parts = list(submitting.publish(screened, {each.request_id: now for each in screened.admitted}))

    admitted = [each.request_id for each in screened.admitted]
    assert [list(part) for part in parts] == [admitted[::2], admitted[1::2]]
    assert all(isinstance(answer, Accepted) for answer in parts[0].values())
    assert told([*parts[1].values()]) == [Code.BROKER_UNAVAILABLE] * 2
    assert gate.reserved(coupon.pk) == 2  # those of the second part are free again
