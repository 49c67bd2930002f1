"""Old outcomes go, and nothing that somebody still needs; verify is clean all the while."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from consumer.batch import BatchProcessor
from coupons.eventlog.delivery import Record
from coupons.eventlog.events import encode, partition_key
from coupons.eventlog.producer import event_producer
from coupons.models import Coupon, DeadLetter, DisclosedRequest, IssueOutcome, SecondFigures, UserCoupon
from coupons.operations import purging
from coupons.operations import purging_figures as figures
from coupons.operations.verification.run import verify
from tests.consuming import consume_all
from tests.factories import make_coupon, make_event, make_users

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("topic")]

LONG_AGO = timedelta(days=400)


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("purge", *words, stdout=out, stderr=out)
    return out.getvalue()


def run_as_json(*words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("--older-than", "1y", "--json", *words))
    return told


def claimed(coupon: Coupon, users: list[int]) -> None:
    """Each user claims, and so does the first one once more; all of it is decided."""
    values = [encode(make_event(coupon_id=coupon.pk, user_id=user)) for user in (*users, users[0])]
    event_producer().publish([Record(key=partition_key(coupon.pk), value=value) for value in values])
    consume_all(BatchProcessor(producer=event_producer()).process)


def age(coupon: Coupon, by: timedelta = LONG_AGO) -> None:
    then = timezone.now() - by
    IssueOutcome.objects.filter(coupon_id=coupon.pk).update(processed_at=then)
    UserCoupon.objects.filter(coupon=coupon).update(issued_at=then)


def findings() -> list[str]:
    report = verify(coupon_id=None, from_topic=True, on_progress=lambda done, whole: None)
    return [f"{each.check}: {each.message}" for each in report.findings] + report.unchecked


@pytest.fixture
def old() -> Coupon:
    """An event of long ago: five of eight users have the coupon, and it is closed."""
    coupon = make_coupon(stock=5)
    claimed(coupon, make_users(8))
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="CLOSED")
    age(coupon)
    return coupon


def test_old_outcomes_go_and_winners_keep_their_coupons(old: Coupon) -> None:
    assert findings() == []

    assert run_as_json("--yes")["deleted"] == 9

    assert not IssueOutcome.objects.exists()
    assert UserCoupon.objects.filter(coupon=old, request_id=None).count() == 5
    old.refresh_from_db()
    assert (old.stock, old.issued_count, old.adopted_count) == (0, 5, 5)
    assert findings() == []
    assert "nothing is that old" in run("--older-than", "1y", "--yes")


def test_a_dry_run_deletes_nothing(old: Coupon) -> None:
    told = run_as_json("--dry-run")

    assert (told["dryRun"], told["deleted"]) == (True, 0)
    assert [(each["couponId"], each["outcomes"], each["whyNot"]) for each in told["coupons"]] == [
        (old.pk, 9, None)
    ]
    assert "9 outcomes" in run("--older-than", "1y", "--dry-run")
    assert IssueOutcome.objects.count() == 9


def test_it_asks_before_it_deletes(old: Coupon) -> None:
    with pytest.raises(CommandError, match="delete 9 outcomes of 1 coupons for good: add --yes"):
        run("--older-than", "1y")
    assert IssueOutcome.objects.count() == 9


def test_an_interrupted_purge_leaves_nothing_wrong_and_goes_on(
    old: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "AT_ONCE", 2)
    before = timezone.now() - timedelta(days=365)
    for left in (7, 5, 3, 1):

        def interrupt(deleted: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            purging.purge(old.pk, older_than=before, on_progress=interrupt)
        assert IssueOutcome.objects.count() == left
        assert findings() == []

    assert run_as_json("--yes")["deleted"] == 1


def test_two_who_purge_at_once_count_each_winner_once(old: Coupon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "AT_ONCE", 2)
    before = timezone.now() - timedelta(days=365)
    others = iter([lambda: purging.purge(old.pk, older_than=before, on_progress=lambda deleted: None)])

    deleted = purging.purge(
        old.pk, older_than=before, on_progress=lambda deleted: next(others, lambda: None)()
    )

    assert deleted == 2
    assert IssueOutcome.objects.count() == 0
    old.refresh_from_db()
    assert old.adopted_count == old.issued_count
    assert findings() == []


def test_a_purged_coupon_may_be_opened_again(old: Coupon) -> None:
    run_as_json("--yes")
    Coupon.objects.filter(pk=old.pk).update(coupon_status="OPENED", stock=2)

    claimed(old, make_users(3))

    ranks = IssueOutcome.objects.filter(status="ISSUED").order_by("claim_rank")
    assert list(ranks.values_list("claim_rank", flat=True)) == [6, 7]
    assert findings() == []


def _open(coupon: Coupon) -> None:
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="OPENED")


def _over(coupon: Coupon) -> None:
    closes_at = timezone.now() - timedelta(days=366)
    Coupon.objects.filter(pk=coupon.pk).update(coupon_status="OPENED", closes_at=closes_at)


def _undecided(coupon: Coupon) -> None:
    [user] = make_users(1)
    value = encode(make_event(coupon_id=coupon.pk, user_id=user))
    event_producer().publish([Record(key=partition_key(coupon.pk), value=value)])


def _disclosed(coupon: Coupon) -> None:
    request = make_event(coupon_id=coupon.pk, user_id=1)
    DisclosedRequest.objects.create(
        request_id=request.request_id, coupon_id=coupon.pk, user_id=1, requested_at=timezone.now()
    )


def _letter(coupon: Coupon) -> None:
    outcome = IssueOutcome.objects.filter(coupon_id=coupon.pk).order_by("-kafka_offset")[0]
    IssueOutcome.objects.filter(pk=outcome.pk).update(status="FAILED", reason="UNSTORABLE")
    DeadLetter.objects.create(
        reason="UNSTORABLE",
        error="",
        request_id=outcome.pk,
        original_topic="t",
        original_partition=0,
        original_offset=0,
    )


@pytest.mark.parametrize(
    ("change", "why_not"),
    [
        (_open, "it is open"),
        (_over, None),
        (_undecided, "1 requests are not decided"),
        (_disclosed, "requests that a client was told of"),
        (_letter, "dead letters wait"),
    ],
)
def test_what_somebody_still_needs_is_kept(old: Coupon, change: Any, why_not: str | None) -> None:
    change(old)

    told = run_as_json("--yes")

    [found] = told["coupons"]
    if why_not is None:
        assert (found["whyNot"], told["deleted"]) == (None, 9)
    else:
        assert why_not in found["whyNot"]
        assert told["deleted"] == 0
        assert IssueOutcome.objects.count() == 9


def test_what_is_younger_is_kept_whole(old: Coupon) -> None:
    last = IssueOutcome.objects.order_by("-kafka_offset")[0]
    IssueOutcome.objects.filter(pk=last.pk).update(processed_at=timezone.now())

    assert run_as_json("--yes") == {"dryRun": False, "deleted": 0, "figuresDeleted": 0, "coupons": []}


def test_a_coupon_that_is_opened_meanwhile_keeps_the_rest(
    old: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "AT_ONCE", 4)

    with pytest.raises(purging.StillOpen):
        purging.purge(
            old.pk,
            older_than=timezone.now() - timedelta(days=365),
            on_progress=lambda deleted: _open(old),
        )

    assert IssueOutcome.objects.count() == 5
    assert findings() == []


def figured(coupon_id: int, *, ago: timedelta = LONG_AGO, rows: int = 5) -> None:
    last = int((timezone.now() - ago).timestamp())
    SecondFigures.objects.bulk_create(
        SecondFigures(coupon_id=coupon_id, second=last - n, process=1, figures="{}") for n in range(rows)
    )


def test_figures_are_kept_unless_they_are_asked_for(old: Coupon) -> None:
    figured(old.pk)

    told = run("--older-than", "1y", "--yes")

    assert "5 rows of figures are kept, and with them the report: --figures deletes them too" in told
    assert SecondFigures.objects.count() == 5
    assert not IssueOutcome.objects.exists()


def test_figures_go_where_outcomes_went_before_and_others_stay(old: Coupon) -> None:
    """Of the same coupon in chunks; not those of a coupon that is open, nor of one with younger ones."""
    figured(old.pk)
    open_one, young = make_coupon(), make_coupon(coupon_status="CLOSED")
    figured(open_one.pk)
    figured(young.pk, ago=timedelta(days=1))
    run_as_json("--yes")

    looked = run_as_json("--figures", "--dry-run")
    shown = {each["couponId"]: (each["figures"], each["whyNot"] or "") for each in looked["coupons"]}
    assert shown[old.pk] == (5, "")
    assert "it is open" in shown[open_one.pk][1]
    assert young.pk not in shown
    assert SecondFigures.objects.count() == 15
    told = run_as_json("--figures", "--yes")

    assert (told["deleted"], told["figuresDeleted"]) == (0, 5)
    assert set(SecondFigures.objects.values_list("coupon_id", flat=True)) == {open_one.pk, young.pk}
    assert findings() == []


def test_figures_go_in_chunks_and_an_interrupted_purge_goes_on(
    old: Coupon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "AT_ONCE", 2)
    figured(old.pk)
    before = timezone.now() - timedelta(days=365)

    def interrupt(deleted: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        figures.purge(old.pk, older_than=before, on_progress=interrupt)
    assert SecondFigures.objects.count() == 3
    with pytest.raises(purging.StillOpen):
        figures.purge(old.pk, older_than=before, on_progress=lambda deleted: _open(old))
    assert SecondFigures.objects.count() == 1


def test_it_asks_for_figures_too(old: Coupon) -> None:
    figured(old.pk)

    with pytest.raises(CommandError, match="9 outcomes of 1 coupons and 5 rows of figures for good"):
        run("--older-than", "1y", "--figures")
    assert SecondFigures.objects.count() == 5


@pytest.mark.parametrize("age", ["", "1", "y", "0d", "1 y", "99999y", "１y"])
def test_an_age_that_is_none_is_refused(age: str) -> None:
    with pytest.raises(CommandError, match="is no age"):
        run("--older-than", age)
