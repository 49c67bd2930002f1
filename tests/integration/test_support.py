"""Support can say what a user asked for, what they were told, and why; what is kept of it is bounded."""

from __future__ import annotations

from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission
from django.contrib.auth.models import User as Staff
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from coupons.claim import Claim
from coupons.coupon_cache import cached_coupon
from coupons.figures import refusals
from coupons.figures.refusals import RefusalDesk
from coupons.gate.admission import gate
from coupons.issuing.deciding import issue_coupons
from coupons.models import CouponStatus, Refusal
from coupons.operations import support
from coupons.operations.support import Told
from tests.factories import make_coupon, make_event, make_requests, make_users
from tests.system import System, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]


def claim(user_id: int, coupon_id: int) -> Claim:
    return Claim(user_id=user_id, coupon_id=coupon_id, request_id=uuid7())


@pytest.fixture
def desk() -> RefusalDesk:
    return RefusalDesk(is_open=True)


def test_refusals_that_somebody_may_complain_about_are_kept(desk: RefusalDesk) -> None:
    desk.answered(
        [claim(1, 7), claim(1, 7), claim(2, 7), claim(3, 7), claim(4, 7)],
        ["OUT_OF_STOCK", "OUT_OF_STOCK", "COUPON_CLOSED", "ACCEPTED", "ALREADY_REQUESTED"],
    )
    rejected = claim(5, 7)
    desk.decided([(rejected, "OUT_OF_STOCK")])
    desk.flush()

    kept = {row.user_id: row for row in Refusal.objects.all()}
    assert {user: row.code for user, row in kept.items()} == {
        1: "OUT_OF_STOCK",
        2: "COUPON_CLOSED",
        5: "OUT_OF_STOCK",
    }
    assert (kept[1].count, kept[1].request_id, kept[5].request_id) == (2, None, rejected.request_id)


def test_no_more_than_so_many_a_second_and_of_a_coupon(
    desk: RefusalDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST_OF_COUPON", refusals.MOST_A_SECOND + 3)
    crowd = [claim(user, 7) for user in range(1, 2_000)]
    for written in (refusals.MOST_A_SECOND, refusals.MOST_A_SECOND + 3):
        desk.answered(crowd, ["OUT_OF_STOCK"] * len(crowd))
        desk.flush()
        assert Refusal.objects.count() == written


def test_what_is_old_is_forgotten() -> None:
    now = timezone.now()
    for age in (refusals.KEPT + timedelta(days=1), timedelta(days=1)):
        Refusal.objects.create(user_id=1, coupon_id=7, code="OUT_OF_STOCK", count=1, refused_at=now - age)

    assert (refusals.forget_old(), refusals.forget_old()) == (1, 0)
    assert Refusal.objects.count() == 1


def test_all_that_a_user_was_told_is_listed_newest_first() -> None:
    won, lost, waiting = make_coupon(stock=1), make_coupon(), make_coupon()
    [user, other] = make_users(2)
    issue_coupons(make_requests(won.pk, [user]))
    Refusal.objects.create(
        user_id=user,
        coupon_id=lost.pk,
        code="OUT_OF_STOCK",
        count=3,
        refused_at=timezone.now() + timedelta(seconds=5),
    )
    Refusal.objects.create(
        user_id=other, coupon_id=lost.pk, code="OUT_OF_STOCK", count=1, refused_at=timezone.now()
    )
    view = cached_coupon(waiting.pk, fresh=True)
    assert view is not None
    gate.load(view, [make_event(coupon_id=waiting.pk, user_id=user).claim])

    found = support.entries(user)

    assert [(each.told, each.coupon_id) for each in found] == [
        (Told.PENDING, waiting.pk),
        (Told.REFUSED, lost.pk),
        (Told.ISSUED, won.pk),
    ]
    assert (found[1].code, found[1].count, found[2].rank) == ("OUT_OF_STOCK", 3, 1)


def test_without_redis_the_rest_is_told(redis_away: pytest.MonkeyPatch) -> None:
    make_coupon()
    assert support.entries(1) == []


def test_the_page_says_why_in_both_languages_to_those_who_may_know() -> None:
    coupon = make_coupon(description="가을 할인쿠폰")
    [user] = make_users(1)
    Refusal.objects.create(
        user_id=user, coupon_id=coupon.pk, code="OUT_OF_STOCK", count=1, refused_at=timezone.now()
    )
    url = f"/admin/coupons/user/{user}/told/"
    staff = Staff.objects.create_user("lee", is_staff=True)
    client = Client()
    client.force_login(staff)
    assert client.get(url).status_code == 403

    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "view_issueoutcome"]))
    for language, words in (("en", ("sold out", "refused")), ("ko", ("재고 소진", "접수 거절"))):
        page = unescape(client.get(url, headers={"accept-language": language}).content.decode())
        assert all(word in page for word in (*words, "가을 할인쿠폰"))


def test_processes_keep_what_they_told(system: System) -> None:
    sold_out, closed = make_coupon(stock=1), make_coupon(coupon_status=CouponStatus.CLOSED)
    first, second = make_users(2)
    assert system.claim(sold_out.pk, first).status == 202
    assert system.claim(sold_out.pk, second).code == "OUT_OF_STOCK"
    assert system.claim(closed.pk, second).code == "COUPON_CLOSED"

    eventually(lambda: {row.code for row in Refusal.objects.all()} == {"OUT_OF_STOCK", "COUPON_CLOSED"})
    assert {row.user_id for row in Refusal.objects.all()} == {second}
