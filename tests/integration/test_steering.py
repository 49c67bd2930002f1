"""Each step does what its outlook said, is written down, and reaches claims and deciding."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from coupons import coupon_cache
from coupons.claims import submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Accepted, Answer
from coupons.models import Coupon, CouponStatus, Steering
from coupons.operations import steering, stock
from coupons.operations.steering import NotPossible, Phase, Step
from coupons.outcomes import Code
from coupons.outcomes import SteeringAction as Action
from tests.factories import make_coupon, make_event, make_users
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)


def step(coupon: Coupon, action: Action, **fields: object) -> Steering:
    coupon.refresh_from_db()
    seen = steering.outlook(coupon, action).seen
    return steering.take(
        Step(action=action, who="kim", why="because", seen=seen, **fields),  # type: ignore[arg-type]
        coupon_id=coupon.pk,
    )


def phase(coupon: Coupon) -> Phase:
    coupon.refresh_from_db()
    return steering.phase_of(coupon, timezone.now())


def claim(coupon: Coupon) -> Answer:
    coupon_cache.forget_all()
    [user] = make_users(1)
    [answer] = submitting.submit([make_event(coupon_id=coupon.pk, user_id=user).claim])
    return answer


def test_a_pause_answers_later_and_a_resume_accepts(topic: str) -> None:
    coupon = make_coupon()

    step(coupon, Action.PAUSE_CLAIMS)
    assert phase(coupon) is Phase.PAUSED
    assert claim(coupon) == Refused(code=Code.CLAIMS_PAUSED)

    step(coupon, Action.RESUME_CLAIMS)
    assert isinstance(claim(coupon), Accepted)


def test_a_stop_honours_what_was_accepted_and_stopping_at_once_does_not(system: System) -> None:
    """The end that the outlook names is late enough for every worker's view of the row."""
    honoured, rejected = make_coupon(), make_coupon()
    users = make_users(6)
    consumer = system.consumers[0]
    for coupon in (honoured, rejected):
        assert system.claim(coupon.pk, users[0]).status == 202  # warm gates
    consumer.kill()  # nothing is decided from here on

    accepted = {
        coupon.pk: [system.claim(coupon.pk, user).body["requestId"] for user in users[1:4]]
        for coupon in (honoured, rejected)
    }
    step(honoured, Action.STOP_CLAIMS)
    late = system.claim(honoured.pk, users[4])  # within the time that workers need to see it
    if late.status == 202:
        accepted[honoured.pk].append(late.body["requestId"])
    written = step(rejected, Action.STOP_AT_ONCE)
    system.consumers.append(system.new_consumer())
    system.consumers[-1].start()

    assert json.loads(written.change)["waiting"] >= 3
    assert {each["status"] for each in system.wait_decided(accepted[honoured.pk])} == {"ISSUED"}
    assert {each["reason"] for each in system.wait_decided(accepted[rejected.pk])} == {"COUPON_CLOSED"}
    assert system.claim(honoured.pk, users[5]).code == "COUPON_CLOSED"
    assert phase(honoured) is Phase.ENDED
    assert phase(rejected) is Phase.CLOSED


def test_a_paused_claim_is_told_when_to_come_back(system: System) -> None:
    coupon = make_coupon()
    step(coupon, Action.PAUSE_CLAIMS)

    answer = system.claim(coupon.pk, make_users(1)[0])

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "CLAIMS_PAUSED", "5")


def test_opening_starts_now_whatever_was_planned() -> None:
    coupon = make_coupon(
        coupon_status=CouponStatus.CLOSED, opens_at=timezone.now() + HOUR, closes_at=timezone.now() + 2 * HOUR
    )

    written = step(coupon, Action.OPEN)

    assert phase(coupon) is Phase.OPEN
    assert coupon.closes_at is not None
    assert set(json.loads(written.change)["changed"]) == {"coupon_status", "opens_at"}
    assert (written.who, written.why) == ("kim", "because")


def test_an_event_that_ended_is_opened_without_an_end() -> None:
    coupon = make_coupon(closes_at=timezone.now() - HOUR)

    step(coupon, Action.OPEN)

    assert phase(coupon) is Phase.OPEN


def test_a_start_opens_a_closed_event_and_an_end_alone_does_not() -> None:
    coupon = make_coupon(coupon_status=CouponStatus.CLOSED)

    step(coupon, Action.CHANGE_WINDOW, closes_at=timezone.now() + 2 * HOUR)
    assert phase(coupon) is Phase.CLOSED
    step(coupon, Action.CHANGE_WINDOW, opens_at=timezone.now() + HOUR, closes_at=timezone.now() + 2 * HOUR)
    assert phase(coupon) is Phase.PLANNED


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    coupon = make_coupon()
    with pytest.raises(NotPossible):
        step(coupon, Action.CHANGE_WINDOW, opens_at=timezone.now(), closes_at=timezone.now() - HOUR)
    assert not Steering.objects.exists()


def test_stock_is_changed_by_an_amount_and_never_below_nothing() -> None:
    coupon = make_coupon(stock=10)

    step(coupon, Action.CHANGE_STOCK, amount=5)
    assert Coupon.objects.get(pk=coupon.pk).stock == 15
    with pytest.raises(stock.StockOutOfRange):
        step(coupon, Action.CHANGE_STOCK, amount=-16)
    assert Steering.objects.count() == 1


def test_what_changed_meanwhile_must_be_seen_first() -> None:
    coupon = make_coupon()
    seen = steering.outlook(coupon, Action.STOP_CLAIMS).seen
    step(coupon, Action.PAUSE_CLAIMS)

    with pytest.raises(NotPossible, match="changed meanwhile"):
        steering.take(Step(action=Action.STOP_CLAIMS, who="lee", why="end", seen=seen), coupon_id=coupon.pk)


@pytest.mark.parametrize("action", [Action.RESUME_CLAIMS, Action.OPEN, Action.REPLAY_LETTERS])
def test_what_makes_no_sense_now_is_refused(action: Action) -> None:
    with pytest.raises(NotPossible, match=f"^{action} is not possible while the event is OPEN$"):
        steering.outlook(make_coupon(), action)
