"""An event planned, rehearsed, opened at its second, watched, steered and reported: in a browser alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User as Staff
from django.utils import timezone

from coupons.models import Coupon, IssueOutcome, Steering
from tests.browser.conftest import Visitor
from tests.factories import make_coupon, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-long-enough-one"
_STEPS = (
    "PAUSE_CLAIMS",
    "RESUME_CLAIMS",
    "PAUSE_DECIDING",
    "RESUME_DECIDING",
    "CHANGE_STOCK",
    "STOP_CLAIMS",
)
#: Until an event opens that is planned now: its page must be seen before. Slow machines need the most of it.
_SOON = timedelta(seconds=25)


def number(visitor: Visitor, name: str, value: str) -> None:
    visitor.page.wait_for_function(
        "([name, value]) => document.querySelector(`[data-name=${name}] b`)?.textContent === value",
        arg=[name, value],
        timeout=30_000,
    )


def phase(visitor: Visitor, wanted: str, *, within_s: int = 30) -> None:
    visitor.page.wait_for_selector(f"#phase[data-phase={wanted}]", timeout=within_s * 1000)


def fill(visitor: Visitor, **fields: str) -> None:
    """A form's fields, and why where it asks for a reason."""
    for name, value in fields.items():
        visitor.page.fill(f"[name={name}]", value)
    if visitor.page.locator("[name=why]").count():
        visitor.page.fill("[name=why]", {"ko": "시험", "en": "a drill"}[visitor.language])


def take(visitor: Visitor, action: str, **fields: str) -> None:
    """A step from the event's page: read what follows, say why, do it."""
    visitor.page.click(f"[data-action={action}]")
    assert visitor.page.inner_text("#consequence")
    fill(visitor, **fields)
    visitor.picture(f"step-{action.lower()}")
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_selector("#numbers")


def new_coupon(
    visitor: Visitor, *, description: str, opens_at: datetime | None = None, rehearsal: bool = False
) -> Coupon:
    """Made in the admin's form; its event's page is open afterwards."""
    visitor.go("/admin/coupons/coupon/add/")
    when = timezone.localtime(opens_at) if opens_at else None
    fill(
        visitor,
        description=description,
        discount_amount="5000",
        stock="20",
        opens_at_0=f"{when:%Y-%m-%d}" if when else "",
        opens_at_1=f"{when:%H:%M:%S}" if when else "",
    )
    if rehearsal:
        visitor.page.check("[name=is_rehearsal]", force=True)
    visitor.page.click("[name=_save]")
    visitor.page.wait_for_url("**/admin/coupons/coupon/")
    coupon = Coupon.objects.latest("pk")
    visitor.page.click(f"a[href='/admin/coupons/coupon/event/{coupon.pk}/']")
    visitor.page.wait_for_selector("#numbers div")
    return coupon


def rehearse(visitor: Visitor, system: System, users: list[int], description: str) -> None:
    """The whole way, and away again."""
    coupon = new_coupon(visitor, description=description, rehearsal=True)
    phase(visitor, "CLOSED")
    take(visitor, "OPEN")
    phase(visitor, "OPEN")
    assert system.get(f"/api/coupons/{coupon.pk}").status == 404
    for user in users[:3]:
        assert system.claim(coupon.pk, user).status == 202
    number(visitor, "issued", "3")
    visitor.picture("event-rehearsal")
    take(visitor, "STOP_AT_ONCE")
    phase(visitor, "CLOSED")
    number(visitor, "waiting", "0")
    visitor.page.click("a[href$='/removal/']")
    fill(visitor)
    visitor.picture("step-remove_rehearsal")
    visitor.page.click(".submit-row [type=submit]")
    visitor.page.wait_for_url("**/coupon/event/")
    assert not Coupon.objects.filter(pk=coupon.pk).exists()


def steer(visitor: Visitor, system: System, coupon: Coupon, users: list[int]) -> None:
    for user in users[:10]:
        assert system.claim(coupon.pk, user).status == 202
    number(visitor, "accepted", "10")
    number(visitor, "issued", "10")
    take(visitor, "PAUSE_CLAIMS")
    phase(visitor, "PAUSED")
    assert system.claim(coupon.pk, users[10]).code == "CLAIMS_PAUSED"
    take(visitor, "RESUME_CLAIMS")
    phase(visitor, "OPEN")
    take(visitor, "PAUSE_DECIDING")
    visitor.page.wait_for_selector("[data-action=RESUME_DECIDING]:not(.event-off)")
    eventually(  # a worker's view of the coupon may still be the paused one
        lambda: system.claim(coupon.pk, users[10]).status == 202, within_s=10
    )
    number(visitor, "accepted", "11")
    visitor.page.wait_for_selector("#deferring:not([hidden])", timeout=30_000)
    visitor.picture("event-deciding-paused")
    take(visitor, "RESUME_DECIDING")
    number(visitor, "issued", "11")
    take(visitor, "CHANGE_STOCK", amount="5")
    number(visitor, "left", "14")
    answers = system.claim_all(coupon.pk, users[11:])
    assert sum(answer.status == 202 for answer in answers.values()) == 14
    number(visitor, "issued", "25")
    visitor.page.wait_for_selector("#winners tr:nth-child(5)")
    visitor.page.wait_for_selector("[data-chart=minutesclaims] canvas")
    visitor.page.wait_for_timeout(3_000)
    visitor.picture("event-open")
    take(visitor, "STOP_CLAIMS")
    phase(visitor, "ENDED")


def report(visitor: Visitor, coupon: Coupon) -> None:
    number(visitor, "waiting", "0")
    assert "25" in visitor.page.inner_text("#report")
    visitor.page.wait_for_selector("[data-chart=wholeclaims] canvas", timeout=30_000)
    visitor.picture("event-report")
    visitor.dark("event-report")
    with visitor.page.expect_download() as download:
        visitor.page.click("a[href$='/winners.csv']")
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(rank) for rank in range(1, 26)]
    visitor.go("/admin/coupons/coupon/event/")
    visitor.page.wait_for_selector(".event-card svg")
    visitor.picture("today")


def test_an_event_from_planning_to_report(visitor: Visitor, system: System, language: str) -> None:
    Staff.objects.create_superuser("kim", "", PASSWORD)
    users = make_users(60)
    visitor.log_in("kim", PASSWORD)
    name, rehearsal = {
        "ko": ("가을 할인쿠폰", "가을 할인쿠폰 리허설"),
        "en": ("Autumn coupon", "Autumn coupon, rehearsal"),
    }[language]
    rehearse(visitor, system, users, rehearsal)
    opens_at = (timezone.now() + _SOON).replace(microsecond=0)
    coupon = new_coupon(visitor, description=name, opens_at=opens_at)

    phase(visitor, "PLANNED")
    visitor.page.wait_for_selector("#countdown:has-text(':')")
    assert system.claim(coupon.pk, users[50]).code == "COUPON_CLOSED"
    visitor.picture("event-planned")
    phase(visitor, "OPEN", within_s=60)  # nobody pressed anything
    steer(visitor, system, coupon, users)
    report(visitor, coupon)

    made = Coupon.objects.get(pk=coupon.pk)
    assert (made.opens_at, made.issued_count) == (opens_at, 25)
    first = IssueOutcome.objects.filter(coupon_id=coupon.pk).earliest("requested_at")
    assert first.requested_at >= opens_at
    steps = Steering.objects.filter(coupon_id=coupon.pk).order_by("pk")
    assert list(steps.values_list("action", "who")) == [(action, "kim") for action in _STEPS]


@pytest.mark.parametrize("language", ["ko"])
def test_a_server_that_does_not_answer_is_told(visitor: Visitor, system: System) -> None:
    Staff.objects.create_superuser("kim", "", PASSWORD)
    coupon = make_coupon()
    visitor.log_in("kim", PASSWORD)
    visitor.go(f"/admin/coupons/coupon/event/{coupon.pk}/")
    phase(visitor, "OPEN")

    system.api.kill()

    visitor.page.wait_for_function(
        "() => /[0-9]/.test(document.querySelector('#notice:not([hidden])')?.textContent)", timeout=30_000
    )
    visitor.complaints.clear()  # the browser complains of each request that found nobody
