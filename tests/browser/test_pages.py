"""Every page of the admin, at a desk and on a phone, in both languages."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.contrib.auth.models import User as Staff
from django.utils import timezone

from coupons.issuing.deciding import issue_coupons
from coupons.models import DeadLetter, IssueOutcome, Point, Refusal, User, UserCoupon
from tests.browser.conftest import Visitor
from tests.factories import make_coupon, make_requests, make_users
from tests.system import System

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a-long-enough-one"


@pytest.fixture
def pages(system: System, language: str) -> dict[str, str]:
    """One row of each table and more; every page that can be opened, by the name of its picture."""
    given, family = ("민지", "김") if language == "ko" else ("Minji", "Kim")
    staff = Staff.objects.create_superuser("kim", "", PASSWORD, first_name=given, last_name=family)
    group = Group.objects.create(name="이벤트 운영" if language == "ko" else "Event operators")
    coupon = make_coupon(description="가을 할인쿠폰" if language == "ko" else "Autumn coupon", stock=12_500)
    users = make_users(3)
    names = ("김민지", "이준호", "박서연") if language == "ko" else ("Minji", "Junho", "Seoyeon")
    for user, name in zip(users, names, strict=True):
        User.objects.filter(pk=user).update(name=name)
        Point.objects.create(user_id=user, balance=1_234_567)
    issue_coupons(make_requests(coupon.pk, users[:2]))
    IssueOutcome.objects.create(
        request_id=uuid4(),
        coupon_id=coupon.pk,
        user_id=users[2],
        status="REJECTED",
        reason="OUT_OF_STOCK",
        requested_at=timezone.now(),
        kafka_partition=0,
        kafka_offset=1,
    )
    Refusal.objects.create(
        user_id=users[2], coupon_id=coupon.pk, code="OUT_OF_STOCK", count=1, refused_at=timezone.now()
    )
    letter = DeadLetter.objects.create(
        reason="NOT_JSON",
        error="no JSON",
        original_topic="coupon-issue-events",
        original_partition=0,
        original_offset=7,
        original_value=b"{",
    )
    LogEntry.objects.log_actions(
        staff.pk,
        [coupon],
        CHANGE,
        change_message=[{"changed": {"fields": ["Description"]}}],
        single_object=True,
    )
    claim = UserCoupon.objects.order_by("pk").first()
    outcome = IssueOutcome.objects.filter(status="ISSUED").first()
    spare = make_coupon(description="지울 쿠폰" if language == "ko" else "To be deleted")
    assert claim is not None
    assert outcome is not None
    coupons = "/admin/coupons"
    return {
        "index": "/admin/",
        "app": "/admin/coupons/",
        "coupons": f"{coupons}/coupon/",
        "coupons-nothing-found": f"{coupons}/coupon/?q=999999",
        "coupons-wrong-search": f"{coupons}/coupon/?q=abc",
        "coupon-add": f"{coupons}/coupon/add/",
        "coupon-change": f"{coupons}/coupon/{coupon.pk}/change/",
        "coupon-history": f"{coupons}/coupon/{coupon.pk}/history/",
        "coupon-delete": f"{coupons}/coupon/{spare.pk}/delete/",
        "customers": f"{coupons}/user/",
        "customer-add": f"{coupons}/user/add/",
        "customer-change": f"{coupons}/user/{users[0]}/change/",
        "customer-delete": f"{coupons}/user/{users[2]}/delete/",
        "customer-delete-refused": f"{coupons}/user/{users[0]}/delete/",
        "customer-told": f"{coupons}/user/{users[2]}/told/",
        "customers-import": f"{coupons}/coupon/import/users/",
        "coupons-import": f"{coupons}/coupon/import/coupons/",
        "eligible-import": f"{coupons}/coupon/import/eligible/",
        "points": f"{coupons}/point/",
        "point-change": f"{coupons}/point/{Point.objects.get(user_id=users[0]).pk}/change/",
        "point-add": f"{coupons}/point/add/",
        "issued": f"{coupons}/usercoupon/",
        "issued-filtered": f"{coupons}/usercoupon/?coupon_id={coupon.pk}",
        "issued-change": f"{coupons}/usercoupon/{claim.pk}/change/",
        "outcomes": f"{coupons}/issueoutcome/",
        "outcome": f"{coupons}/issueoutcome/{outcome.pk}/change/",
        "letters": f"{coupons}/deadletter/",
        "letter": f"{coupons}/deadletter/{letter.pk}/change/",
        "staff": "/admin/auth/user/",
        "staff-add": "/admin/auth/user/add/",
        "staff-change": f"/admin/auth/user/{staff.pk}/change/",
        "staff-password": f"/admin/auth/user/{staff.pk}/password/",
        "groups": "/admin/auth/group/",
        "group-add": "/admin/auth/group/add/",
        "group-change": f"/admin/auth/group/{group.pk}/change/",
        "password-change": "/admin/password_change/",
    }


def test_every_page_is_whole_at_both_widths(visitor: Visitor, pages: dict[str, str]) -> None:
    visitor.go("/admin/")
    visitor.picture("login")
    visitor.log_in("kim", PASSWORD)
    for name, path in pages.items():
        visitor.go(path)
        visitor.page.wait_for_selector("#content, #login-form")
        visitor.picture(f"admin-{name}")
