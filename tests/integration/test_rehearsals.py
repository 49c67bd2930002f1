"""A rehearsal goes the whole way, is not shown to customers, and goes with all its traces."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from django.apps import apps
from django.contrib.auth.models import User as Staff
from django.test import Client
from django_redis import get_redis_connection

from coupons.models import Coupon, CouponStatus, DeadLetter, SecondFigures, Steering
from coupons.operations import rehearsals
from coupons.operations.rehearsals import NotRemoved
from tests.factories import make_coupon, make_users
from tests.system import System

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]


def test_it_goes_the_whole_way_and_then_away_with_all_its_traces(system: System) -> None:
    coupon, other = make_coupon(stock=3, is_rehearsal=True), make_coupon()
    users = make_users(5)
    answers = system.claim_all(coupon.pk, users)
    accepted = [each.body["requestId"] for each in answers.values() if each.status == 202]
    assert {each["status"] for each in system.wait_decided(accepted)} == {"ISSUED"}
    theirs = system.claim(other.pk, users[0]).body["requestId"]
    system.wait_decided([theirs])

    assert system.get(f"/api/coupons/{coupon.pk}").code == "COUPON_NOT_FOUND"
    [shown] = system.get(f"/api/coupons/users/{users[0]}").body["userCoupons"]
    assert shown["couponId"] == other.pk

    open_still = system.manage("rehearsal", "--remove", str(coupon.pk), "--yes")
    assert "stop it at once first" in open_still.stderr
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status=CouponStatus.CLOSED)
    looked = system.manage("rehearsal", "--remove", str(coupon.pk), "--dry-run", "--json")
    assert json.loads(looked.stdout)["user_coupons"] == 3
    done = system.manage("rehearsal", "--remove", str(coupon.pk), "--yes")

    assert done.returncode == 0, done.stderr
    assert _traces(coupon.pk) == {"coupon_steering": 1}
    assert list(get_redis_connection("default").scan_iter(f"*coupon:{coupon.pk}}}*")) == []
    assert system.status(theirs).body["status"] == "ISSUED"
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout


def _traces(coupon_id: int) -> dict[str, int]:
    """Rows of any of our tables that name the coupon."""
    counts = {
        model._meta.db_table: model._default_manager.filter(coupon_id=coupon_id).count()
        for model in apps.get_app_config("coupons").get_models()
        if any(getattr(field, "attname", "") == "coupon_id" for field in model._meta.get_fields())
    }
    return {table: count for table, count in counts.items() if count}


@pytest.mark.parametrize(
    ("fields", "why"), [({}, "no rehearsal"), ({"is_rehearsal": True}, "stop it at once first")]
)
def test_what_is_no_rehearsal_or_open_stays(fields: dict[str, bool], why: str) -> None:
    coupon = make_coupon(**fields)
    with pytest.raises(NotRemoved, match=why):
        rehearsals.remove(coupon.pk, who="kim", why="")
    assert Coupon.objects.filter(pk=coupon.pk).exists()


def test_the_button_says_what_goes_and_asks_why(topic: str) -> None:
    coupon = make_coupon(is_rehearsal=True, coupon_status=CouponStatus.CLOSED)
    SecondFigures.objects.create(coupon_id=coupon.pk, second=1, process=1, figures="{}")
    Staff.objects.create_superuser("kim", "", "a-long-enough-one")
    staff = Client(headers={"accept-language": "en"})
    staff.force_login(Staff.objects.get())
    url = f"/admin/coupons/coupon/event/{coupon.pk}/removal/"

    assert url in staff.get(f"/admin/coupons/coupon/event/{coupon.pk}/").content.decode()
    page = unescape(staff.get(url).content.decode())
    assert re.search(r"1 rows? of figures", page)
    staff.post(url, {"why": ""})
    assert Coupon.objects.filter(pk=coupon.pk).exists()
    done = staff.post(url, {"why": "rehearsed"}, follow=True)

    assert "Done: Remove the rehearsal" in unescape(done.content.decode())
    assert not Coupon.objects.filter(pk=coupon.pk).exists()
    assert not SecondFigures.objects.exists()
    [written] = Steering.objects.all()
    assert (written.who, written.why) == ("kim", "rehearsed")
    assert not DeadLetter.objects.exists()
    assert staff.get(url.replace(str(coupon.pk), str(make_coupon().pk))).status_code == 404
