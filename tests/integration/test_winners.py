"""The winners by rank, as a file and as a command."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User as Staff
from django.core.management import CommandError, call_command
from django.test import Client

from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, IssueOutcome, User
from coupons.operations import winners
from tests.factories import make_coupon, make_requests, make_users

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]


@pytest.fixture
def coupon(monkeypatch: pytest.MonkeyPatch) -> Coupon:
    """Seven of nine won, in reverse order of their ids."""
    coupon = make_coupon(stock=7)
    users = make_users(9)[::-1]
    User.objects.filter(pk=users[0]).update(name="=1+1")
    User.objects.filter(pk=users[1]).update(name='홍 "길동", 님')
    issue_coupons(make_requests(coupon.pk, users))
    coupon.refresh_from_db()
    return coupon


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def command(*words: str) -> str:
    out = io.StringIO()
    call_command("winners", *words, stdout=out)
    return out.getvalue()


def test_they_come_by_rank_and_all_of_them(coupon: Coupon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, "AT_ONCE", 3)  # several readings
    found = rows(command("--coupon", str(coupon.pk)))

    assert [row["rank"] for row in found] == [str(n) for n in range(1, 8)]
    first = IssueOutcome.objects.get(coupon_id=coupon.pk, claim_rank=1)
    assert (found[0]["user_id"], found[0]["request_id"]) == (str(first.user_id), str(first.request_id))
    assert found[0]["issued_at"].endswith("+09:00")


def test_a_name_is_no_formula_and_no_new_column(coupon: Coupon) -> None:
    found = rows(command("--coupon", str(coupon.pk)))
    assert [row["name"] for row in found[:2]] == ["'=1+1", '홍 "길동", 님']


def test_as_json_each_has_a_line(coupon: Coupon) -> None:
    lines: list[Any] = [
        json.loads(line) for line in command("--coupon", str(coupon.pk), "--json").splitlines()
    ]
    assert [line["rank"] for line in lines] == list(range(1, 8))


def test_a_coupon_that_was_made_anew_has_none_of_the_old_ones(coupon: Coupon) -> None:
    IssueOutcome.objects.update(coupon_epoch=1)
    assert rows(command("--coupon", str(coupon.pk))) == []


def test_no_such_coupon() -> None:
    with pytest.raises(CommandError, match="there is no coupon 5"):
        command("--coupon", "5")


def test_the_page_streams_them_for_staff_alone(coupon: Coupon) -> None:
    url = f"/admin/coupons/coupon/event/{coupon.pk}/winners.csv"
    Staff.objects.create_superuser("kim", "", "a-long-enough-one")
    staff = Client()
    staff.force_login(Staff.objects.get())

    answer = staff.get(url)

    assert answer.streaming
    text = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
    assert [row["rank"] for row in rows(text)] == [str(n) for n in range(1, 8)]
    assert Client().get(url).status_code == 302
