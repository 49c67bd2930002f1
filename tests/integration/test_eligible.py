"""Coupons for listed users: others are refused by the API in the batch's one query, and by the consumer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from coupons import coupon_cache, selectors
from coupons.claim import Claim
from coupons.claims import submitting
from coupons.claims.screening import Refused
from coupons.claims.submitting import Accepted, Answer
from coupons.issuing.deciding import issue_coupons
from coupons.models import Coupon, EligibleUser, IssueOutcome
from coupons.outcomes import Code, Decision
from tests.factories import make_coupon, make_requests, make_users
from tests.system import System, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def listed(coupon: Coupon, users: Sequence[int]) -> None:
    EligibleUser.objects.bulk_create(EligibleUser(coupon_id=coupon.pk, user_id=user) for user in users)


def claim(coupon: Coupon, users: Sequence[int]) -> list[Answer]:
    coupon_cache.forget_all()
    return submitting.submit([Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()) for user in users])


def test_others_are_refused_before_anything_is_reserved(topic: str) -> None:
    for_some, for_all = make_coupon(eligible_only=True), make_coupon()
    users = make_users(3)
    listed(for_some, users[:2])
    listed(for_all, users[:1])  # without the flag a list means nothing

    assert [isinstance(each, Accepted) for each in claim(for_some, users)] == [True, True, False]
    assert claim(for_some, users[2:]) == [Refused(code=Code.NOT_ELIGIBLE)]
    assert all(isinstance(each, Accepted) for each in claim(for_all, users))
    assert claim(for_some, [987_654_321]) == [Refused(code=Code.USER_NOT_FOUND)]


def test_a_coupon_without_a_list_costs_nothing_and_one_with_a_list_no_question_more() -> None:
    for_some, for_all, users = make_coupon(eligible_only=True), make_coupon(), make_users(2)
    listed(for_some, users[:1])
    holdings = [
        Claim(coupon_id=coupon.pk, user_id=user, request_id=uuid7()).holding
        for coupon in (for_some, for_all)
        for user in users
    ]

    with CaptureQueriesContext(connection) as asked:
        plain = selectors.claimants(holdings[2:])
    assert len(asked) == 1
    assert "eligible" not in asked[0]["sql"]
    assert not any(each.is_listed for each in plain.values())
    with CaptureQueriesContext(connection) as asked:
        found = selectors.claimants(holdings, for_listed={for_some.pk})
    assert len(asked) == 1
    assert [found[each].is_listed for each in holdings] == [True, False, False, False]
    assert not any(each.has_coupon for each in found.values())


def test_the_consumer_has_the_last_word() -> None:
    """An event that another producer wrote, or one that was accepted before the list was made shorter."""
    coupon, users = make_coupon(eligible_only=True, stock=1), make_users(3)
    listed(coupon, users[1:])

    issued = issue_coupons(make_requests(coupon.pk, users))

    told = [allocation.decision for allocation in issued.allocations]
    assert told == [Decision.NOT_ELIGIBLE, Decision.ISSUED, Decision.OUT_OF_STOCK]
    assert IssueOutcome.objects.get(user_id=users[0]).reason == "NOT_ELIGIBLE"


def test_from_outside_it_is_403_with_a_code_of_its_own(system: System) -> None:
    coupon, users = make_coupon(eligible_only=True), make_users(2)
    listed(coupon, users[:1])

    refused = system.claim(coupon.pk, users[1], Accept_Language="en")
    accepted = system.claim(coupon.pk, users[0])
    listed(coupon, users[1:])

    assert (refused.status, refused.code) == (403, "NOT_ELIGIBLE")
    assert "you are not among them" in refused.body["message"]
    assert accepted.status == 202
    assert system.wait_decided([accepted.body["requestId"]])[0]["status"] == "ISSUED"
    eventually(lambda: system.claim(coupon.pk, users[1]).status in (202, 409))
    verified = system.manage("verify", "--from-topic")
    assert verified.returncode == 0, verified.stdout


def imported(text: str, folder: Path, *words: str) -> str:
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8")
    told = io.StringIO()
    try:
        call_command("import_csv", "eligible", str(file), *words, stdout=told, stderr=told)
    except CommandError as error:
        told.write(str(error))
    return told.getvalue()


def test_a_list_is_imported_whole_or_not_at_all(tmp_path: Path) -> None:
    coupon, for_all, users = make_coupon(eligible_only=True), make_coupon(), make_users(3)
    good = "coupon_id,user_id\n" + "".join(f"{coupon.pk},{user}\n" for user in users[:2])
    wrong = (
        f"{coupon.pk},{users[0]}\n{coupon.pk},987654321\n{for_all.pk},{users[2]}\n987654321,{users[2]}\n"
        f"{coupon.pk},x\n"
    )

    told = imported(good + wrong, tmp_path)
    assert [line.split(":")[0] for line in told.splitlines()[:5]] == [f"line {n}" for n in range(4, 9)]
    for said in ("stands in the file twice", "there is no user 987654321", "not for listed users alone"):
        assert said in told
    assert "there is no coupon 987654321" in told
    assert not EligibleUser.objects.exists()

    assert "2 eligible are without error" in imported(good, tmp_path, "--dry-run")
    assert "2 eligible imported, 0 were there" in imported(good, tmp_path)
    again = good + f"{coupon.pk},{users[2]}\n"
    assert "1 eligible imported, 2 were there" in imported(again, tmp_path)
    assert set(EligibleUser.objects.values_list("user_id", flat=True)) == set(users)


def test_a_coupon_for_listed_users_is_imported_as_one(tmp_path: Path) -> None:
    file = tmp_path / "coupons.csv"
    file.write_text("description,discount_amount,stock,eligible_only\na,1,1,true\nb,1,1,\n")
    call_command("import_csv", "coupons", str(file), stdout=io.StringIO())
    assert list(Coupon.objects.order_by("pk").values_list("eligible_only", flat=True)) == [True, False]
