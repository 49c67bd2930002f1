"""Leaked reservations are found and given back; reservations with an event never are."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from django.conf import settings
from uuid_utils.compat import uuid7

from coupons import catalog, gate_loading, reclaiming, requesting
from coupons.admission import Claim, gate
from coupons.allocation import IssueRequest
from coupons.issuing import issue_coupons
from coupons.models import IssueOutcome, UserCoupon
from coupons.reclaiming import Round
from tests.factories import make_coupon, make_event, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _short_wait(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nobody publishes for as long as an API may."""
    if "whole_wait" not in request.keywords:
        monkeypatch.setattr(reclaiming, "_PUBLISHABLE_S", 1.0)


class Clock:
    """Stands in for the monotonic clock; jumps when told to."""

    jumped_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.jumped_s


def _reserve(coupon_id: int, user_id: int) -> Claim:
    view = catalog.coupon_view(coupon_id)
    assert view is not None
    claim = Claim(coupon_id=coupon_id, user_id=user_id, request_id=uuid7())
    gate_loading.load(view)
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
    monkeypatch.setattr(reclaiming, "time", clock)
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
    [answer] = requesting.submit([claim])
    assert isinstance(answer, requesting.Accepted)
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
    reclaiming.give_back([claim])

    late = make_event(coupon_id=coupon.pk, user_id=user, event_id=claim.request_id)
    issue_coupons([IssueRequest(event=late, partition=0, offset=7)])

    assert not UserCoupon.objects.exists()
    assert IssueOutcome.objects.get(pk=claim.request_id).status == "REJECTED"


def test_a_decided_reservation_keeps_its_outcome() -> None:
    coupon, [user] = make_coupon(stock=1), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user)
    issue_coupons([IssueRequest(event=event, partition=0, offset=0)])

    claim = Claim(coupon_id=coupon.pk, user_id=user, request_id=event.event_id)
    assert reclaiming.give_back([claim]) == []

    assert IssueOutcome.objects.get(pk=event.event_id).status == "ISSUED"


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
