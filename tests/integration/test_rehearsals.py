"""A rehearsal goes the whole way, is not shown to customers, and goes with all its traces."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape

import msgspec
import pytest
from django.apps import apps
from django.contrib.auth.models import User as Staff
from django.test import Client
from django.utils import timezone
from django_redis import get_redis_connection

from coupons.admin.events import steps
from coupons.figures.counting import Figures
from coupons.models import (
    Coupon,
    CouponStatus,
    DeadLetter,
    EligibleUser,
    Refusal,
    SecondFigures,
    Steering,
    UserCoupon,
)
from coupons.operations import rehearsals
from coupons.operations.rehearsals import NotRemoved
from tests.factories import make_coupon, make_users
from tests.system import System, eventually

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
        rehearsals.remove(coupon.pk, who="kim", why="", on_progress=lambda deleted: None)
    assert Coupon.objects.filter(pk=coupon.pk).exists()


class Interrupted(Exception):
    """As if the process had been killed between two transactions."""


@pytest.fixture
def decided(system: System, monkeypatch: pytest.MonkeyPatch) -> Coupon:
    """A closed rehearsal with seven winners, two who came too late and a list; removed in small bits."""
    monkeypatch.setattr(rehearsals, "AT_ONCE", 2)
    coupon, users = make_coupon(stock=7, is_rehearsal=True), make_users(9)
    EligibleUser.objects.bulk_create(EligibleUser(coupon_id=coupon.pk, user_id=user) for user in users)
    answers = system.claim_all(coupon.pk, users)
    system.wait_decided([each.body["requestId"] for each in answers.values() if each.status == 202])
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status=CouponStatus.CLOSED)
    eventually(lambda: _told() == (9, 7), what=lambda: f"the figures of its last second: {_told()}")
    return coupon


def _told() -> tuple[int, int]:
    """How many answers and how many won coupons the figures tell: no process adds any after the last."""
    figures = [
        msgspec.json.decode(row, type=Figures)
        for row in SecondFigures.objects.values_list("figures", flat=True)
    ]
    return sum(sum(each.answers.values()) for each in figures), sum(
        each.decisions.get("ISSUED", 0) for each in figures
    )


def _interrupting(after: int, how: Callable[[], None]) -> Callable[[int], None]:
    """Calls ``how`` when so many rows were deleted."""
    so_far = 0

    def progress(deleted: int) -> None:
        nonlocal so_far
        so_far += deleted
        if so_far >= after:
            how()

    return progress


def _die() -> None:
    raise Interrupted


@pytest.mark.parametrize("after", [1, 5, 9, 15, 20])
def test_a_removal_that_was_interrupted_leaves_sound_rows_and_is_run_again(
    system: System, decided: Coupon, after: int
) -> None:
    whole = rehearsals.traces(decided.pk).whole
    with pytest.raises(Interrupted):
        rehearsals.remove(decided.pk, who="kim", why="", on_progress=_interrupting(after, _die))
    left = rehearsals.traces(decided.pk).whole
    assert 0 < left <= whole - after
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout

    deleted: list[int] = []
    rehearsals.remove(decided.pk, who="lee", why="", on_progress=deleted.append)
    assert sum(deleted) >= left  # requests that a client was told of are no traces of their own
    assert max(deleted) <= 3 * rehearsals.AT_ONCE
    assert _traces(decided.pk) == {"coupon_steering": 2}
    assert set(Steering.objects.values_list("who", flat=True)) == {"kim", "lee"}
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout


def test_somebody_who_opens_it_meanwhile_keeps_the_rest(system: System, decided: Coupon) -> None:
    def open_it() -> None:
        Coupon.objects.filter(pk=decided.pk).update(coupon_status=CouponStatus.OPENED)

    with pytest.raises(NotRemoved, match="the rest stays"):
        rehearsals.remove(decided.pk, who="kim", why="", on_progress=_interrupting(4, open_it))
    row = Coupon.objects.get(pk=decided.pk)
    assert row.issued_count - row.adopted_count == UserCoupon.objects.count() > 0
    [user] = make_users(1)
    EligibleUser.objects.create(coupon_id=decided.pk, user_id=user)
    system.claim(decided.pk, user)
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout


def test_two_who_remove_it_at_once_remove_it_once(system: System, decided: Coupon) -> None:
    def remove_too() -> None:
        rehearsals.remove(decided.pk, who="lee", why="", on_progress=lambda deleted: None)

    left = rehearsals.remove(decided.pk, who="kim", why="", on_progress=_once(remove_too))
    assert left.user_coupons == 7
    assert _traces(decided.pk) == {"coupon_steering": 2}


def test_what_is_written_of_it_after_its_removal_goes_too(system: System, decided: Coupon) -> None:
    """By a process that has not seen yet that the coupon is gone, or whose database was away."""
    rehearsals.remove(decided.pk, who="kim", why="", on_progress=lambda deleted: None)
    other = make_coupon()
    for coupon_id, rows in ((decided.pk, 2 * rehearsals.AT_ONCE + 1), (other.pk, 1)):
        for second in range(rows):
            SecondFigures.objects.create(coupon_id=coupon_id, second=second, process=1, figures="{}")
            Refusal.objects.create(
                user_id=1, coupon_id=coupon_id, code="COUPON_CLOSED", count=1, refused_at=timezone.now()
            )
    while rehearsals.forget_late():
        pass

    assert _traces(decided.pk) == {"coupon_steering": 1}
    assert set(_traces(other.pk).values()) == {1}


def test_housekeeping_looks_for_it(system: System, decided: Coupon) -> None:
    rehearsals.remove(decided.pk, who="kim", why="", on_progress=lambda deleted: None)
    SecondFigures.objects.create(coupon_id=decided.pk, second=1, process=1, figures="{}")
    eventually(lambda: _traces(decided.pk) == {"coupon_steering": 1}, within_s=60)


def test_what_is_written_while_it_goes_stays_until_it_is_gone(decided: Coupon) -> None:
    """It may be opened again: then it is no rehearsal that is gone."""
    with pytest.raises(Interrupted):
        rehearsals.remove(decided.pk, who="kim", why="", on_progress=_interrupting(1, _die))
    left = _traces(decided.pk)
    assert rehearsals.forget_late() == 0
    assert _traces(decided.pk) == left


def _once(how: Callable[[], None]) -> Callable[[int], None]:
    calls = iter([how])
    return lambda deleted: next(calls, lambda: None)()


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


def test_a_page_names_the_command_for_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MOST_REMOVED", 2)
    coupon = make_coupon(is_rehearsal=True, coupon_status=CouponStatus.CLOSED)
    EligibleUser.objects.bulk_create(EligibleUser(coupon_id=coupon.pk, user_id=user) for user in range(1, 4))
    Staff.objects.create_superuser("kim", "", "a-long-enough-one")
    staff = Client(headers={"accept-language": "en"})
    staff.force_login(Staff.objects.get())
    url = f"/admin/coupons/coupon/event/{coupon.pk}/removal/"

    for page in (staff.get(url, follow=True), staff.post(url, {"why": "rehearsed"}, follow=True)):
        told = unescape(page.content.decode())
        assert (
            f"has 3 rows, and at most 2 are removed here: run `manage.py rehearsal --remove {coupon.pk}`"
            in told
        )
    assert EligibleUser.objects.count() == 3
