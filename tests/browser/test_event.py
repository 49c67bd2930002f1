"""An event from planning to report, in a browser, in both languages, without a shell."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User as Staff
from django.utils import timezone

from coupons.models import Coupon, CouponStatus, Steering
from tests.browser.conftest import Visitor
from tests.factories import make_coupon, make_users
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-long-enough-one"


def number(visitor: Visitor, name: str, value: str) -> None:
    visitor.page.wait_for_function(
        "([name, value]) => document.querySelector(`[data-name=${name}] b`)?.textContent === value",
        arg=[name, value],
        timeout=15_000,
    )


def phase(visitor: Visitor, wanted: str) -> None:
    visitor.page.wait_for_selector(f"#phase[data-phase={wanted}]", timeout=15_000)


def take(visitor: Visitor, action: str, **fields: str) -> None:
    visitor.page.click(f"[data-action={action}]")
    assert visitor.page.inner_text("#consequence")
    for name, value in {"why": "시험 rehearsal", **fields}.items():
        visitor.page.fill(f"[name={name}]", value)
    if action in ("STOP_AT_ONCE", "STOP_CLAIMS"):
        visitor.picture(f"step-{action.lower()}")
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_selector("#numbers")


def test_an_event_is_opened_watched_paused_topped_up_stopped_and_reported(
    visitor: Visitor, system: System, language: str
) -> None:
    Staff.objects.create_superuser("kim", "", PASSWORD)
    coupon = make_coupon(
        description="가을 할인쿠폰" if language == "ko" else "Autumn coupon",
        stock=20,
        coupon_status=CouponStatus.OPENED,
        opens_at=timezone.now() + timedelta(hours=2),
    )
    users = make_users(60)
    visitor.log_in("kim", PASSWORD)

    visitor.go(f"/admin/coupons/coupon/event/{coupon.pk}/")
    phase(visitor, "PLANNED")
    assert ":" in visitor.page.inner_text("#countdown")
    visitor.picture("event-planned")

    take(visitor, "OPEN")
    phase(visitor, "OPEN")
    for user in users[:10]:
        assert system.claim(coupon.pk, user).status == 202
    number(visitor, "accepted", "10")
    number(visitor, "issued", "10")

    take(visitor, "PAUSE_CLAIMS")
    phase(visitor, "PAUSED")
    assert system.claim(coupon.pk, users[10]).code == "CLAIMS_PAUSED"
    take(visitor, "RESUME_CLAIMS")
    phase(visitor, "OPEN")

    take(visitor, "CHANGE_STOCK", amount="5")
    number(visitor, "left", "15")
    answers = system.claim_all(coupon.pk, users[10:])
    assert sum(answer.status == 202 for answer in answers.values()) == 15
    number(visitor, "issued", "25")
    visitor.page.wait_for_selector("#winners tr:nth-child(5)")
    visitor.page.wait_for_selector("[data-chart=minutesclaims] canvas")
    visitor.page.wait_for_timeout(3_000)
    visitor.picture("event-open")

    take(visitor, "STOP_CLAIMS")
    phase(visitor, "ENDED")
    number(visitor, "waiting", "0")
    assert "25" in visitor.page.inner_text("#report")
    visitor.page.wait_for_selector("[data-chart=wholeclaims] canvas", timeout=20_000)
    visitor.picture("event-report")

    assert list(Steering.objects.order_by("pk").values_list("action", "who")) == [
        (action, "kim") for action in ("OPEN", "PAUSE_CLAIMS", "RESUME_CLAIMS", "CHANGE_STOCK", "STOP_CLAIMS")
    ]
    assert Coupon.objects.get(pk=coupon.pk).issued_count == 25

    visitor.go("/admin/coupons/coupon/event/")
    visitor.page.wait_for_selector(".event-card svg")
    visitor.picture("today")


def test_a_server_that_does_not_answer_is_told(visitor: Visitor, system: System) -> None:
    Staff.objects.create_superuser("kim", "", PASSWORD)
    coupon = make_coupon()
    visitor.log_in("kim", PASSWORD)
    visitor.go(f"/admin/coupons/coupon/event/{coupon.pk}/")
    phase(visitor, "OPEN")

    system.api.kill()

    visitor.page.wait_for_function(
        "() => /[0-9]/.test(document.querySelector('#notice:not([hidden])')?.textContent)", timeout=20_000
    )
    visitor.complaints.clear()  # the browser complains of each request that found nobody
