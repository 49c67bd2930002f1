"""The only writer of issued coupons, on the real database: decides a batch once, in one transaction."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from msgspec import structs

from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import Place
from coupons.issuing import deciding
from coupons.issuing.deciding import CouponsNotFound, Issued, issue_coupons
from coupons.issuing.locks import coupon_locks
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.outcomes import Decision
from tests.factories import make_coupon, make_event, make_requests, make_users, moved

pytestmark = pytest.mark.django_db


def decisions(issued: Issued) -> list[Decision]:
    return [allocation.decision for allocation in issued.allocations]


def left(coupon: Coupon) -> tuple[int, int]:
    coupon.refresh_from_db()
    return coupon.stock, coupon.issued_count


def everything() -> list[list[Any]]:
    """All rows that issuing writes."""
    return [list(model.objects.order_by("pk").values()) for model in (Coupon, UserCoupon, IssueOutcome)]


def test_the_first_of_the_log_get_the_stock() -> None:
    coupon, users = make_coupon(stock=3), make_users(5)
    requests = make_requests(coupon.pk, users[::-1])

    issued = issue_coupons(requests)

    assert decisions(issued) == [Decision.ISSUED] * 3 + [Decision.OUT_OF_STOCK] * 2
    assert left(coupon) == (0, 3)
    assert set(UserCoupon.objects.values_list("user_id", flat=True)) == set(users[2:])
    for request in requests[:3]:
        user_coupon = UserCoupon.objects.get(user_id=request.event.user_id)
        assert user_coupon.request_id == request.event.request_id
        assert issued.user_coupon_ids[request.event.request_id] == user_coupon.pk
        assert (user_coupon.status, user_coupon.used_at) == ("ISSUED", None)


def test_every_request_has_its_outcome_with_its_place_in_the_log() -> None:
    coupon, users = make_coupon(stock=1), make_users(2)
    requests = make_requests(coupon.pk, users, partition=2)

    issue_coupons(requests)

    won, lost = (IssueOutcome.objects.get(pk=request.event.request_id) for request in requests)
    assert (won.status, won.reason, won.claim_rank) == ("ISSUED", None, 1)
    assert won.user_coupon_id == UserCoupon.objects.get(user_id=users[0]).pk
    assert (lost.status, lost.reason, lost.claim_rank) == ("REJECTED", "OUT_OF_STOCK", None)
    assert lost.user_coupon_id is None
    for outcome, request in zip((won, lost), requests, strict=True):
        assert (outcome.kafka_partition, outcome.kafka_offset) == (2, request.place.offset)
        assert (outcome.coupon_id, outcome.user_id) == (coupon.pk, request.event.user_id)
        assert int(outcome.requested_at.timestamp() * 1000) == request.event.timestamp_ms
        assert outcome.processed_at >= outcome.requested_at


def test_a_batch_fed_twice_changes_nothing_the_second_time() -> None:
    coupon, users = make_coupon(stock=2), make_users(4)
    requests = make_requests(coupon.pk, [*users, users[0], 987_654])
    issue_coupons(requests)
    written = everything()

    again = issue_coupons(requests)

    assert decisions(again) == [Decision.REPLAYED] * 6
    assert everything() == written
    assert again.user_coupon_ids == {}
    assert again.coupons[coupon.pk].issued_count == 2


def test_part_of_a_batch_fed_again_is_told_apart_from_what_is_new() -> None:
    coupon, users = make_coupon(stock=10), make_users(4)
    requests = make_requests(coupon.pk, users)
    issue_coupons(requests[:2])

    assert decisions(issue_coupons(requests)) == [Decision.REPLAYED] * 2 + [Decision.ISSUED] * 2
    assert left(coupon) == (6, 4)


def test_a_user_gets_one_coupon_however_many_requests() -> None:
    coupon, [user] = make_coupon(stock=10), make_users(1)

    first = issue_coupons(make_requests(coupon.pk, [user] * 3))
    second = issue_coupons(make_requests(coupon.pk, [user]))

    assert decisions(first) == [Decision.ISSUED, Decision.ALREADY_REQUESTED, Decision.ALREADY_REQUESTED]
    assert decisions(second) == [Decision.ALREADY_REQUESTED]
    assert left(coupon) == (9, 1)
    assert IssueOutcome.objects.filter(status="REJECTED", reason="ALREADY_REQUESTED").count() == 3


def test_several_coupons_in_one_batch_are_decided_each_by_itself() -> None:
    scarce, plenty, users = make_coupon(stock=1), make_coupon(stock=10), make_users(3)
    requests = [
        IssueRequest(event=make_event(coupon_id=coupon.pk, user_id=user), place=Place(partition, offset))
        for offset, user in enumerate(users)
        for partition, coupon in enumerate((plenty, scarce))
    ]

    issued = issue_coupons(requests)

    assert [allocation.request for allocation in issued.allocations] == requests
    assert decisions(issued)[0::2] == [Decision.ISSUED] * 3
    assert decisions(issued)[1::2] == [Decision.ISSUED, Decision.OUT_OF_STOCK, Decision.OUT_OF_STOCK]
    assert (left(plenty), left(scarce)) == ((7, 3), (0, 1))
    assert {pk: coupon.issued_count for pk, coupon in issued.coupons.items()} == {plenty.pk: 3, scarce.pk: 1}


def test_hundreds_of_coupons_in_one_batch_take_few_statements() -> None:
    coupons, users = [make_coupon(stock=n % 3) for n in range(450)], make_users(2)
    requests = [
        IssueRequest(event=make_event(coupon_id=coupon.pk, user_id=user), place=Place(0, offset))
        for offset, (user, coupon) in enumerate(itertools.product(users, coupons))
    ]

    with CaptureQueriesContext(connection) as queries:
        issued = issue_coupons(requests)

    assert len(queries) < 15
    assert decisions(issued).count(Decision.ISSUED) == UserCoupon.objects.count() == 450
    assert {left(coupon) for coupon in coupons} == {(0, 0), (0, 1), (0, 2)}
    assert decisions(issue_coupons(requests)) == [Decision.REPLAYED] * 900


@pytest.mark.parametrize("returns", ["as it does", "never"])
def test_the_ids_of_user_coupons_are_right_whether_the_insert_returns_them_or_not(
    returns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL returns nothing; MariaDB and SQLite do, and can be asked as MySQL is."""
    if returns == "never":
        monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
    coupons, users = [make_coupon(stock=2), make_coupon(stock=900)], make_users(1200)
    requests = [each for coupon in coupons for each in make_requests(coupon.pk, users, partition=coupon.pk)]

    issued = issue_coupons(requests)

    rows = UserCoupon.objects.values_list("request_id", "pk")
    assert issued.user_coupon_ids == dict(rows)
    outcomes = IssueOutcome.objects.filter(status="ISSUED").values_list("request_id", "user_coupon_id")
    assert dict(outcomes) == dict(rows)
    assert len(rows) == 902


@pytest.mark.parametrize("timestamp_ms", [0, 1_700_000_000_007, 253_402_300_799_999])
def test_the_time_of_a_request_is_kept_to_the_millisecond(timestamp_ms: int) -> None:
    coupon, [user] = make_coupon(), make_users(1)
    event = make_event(coupon_id=coupon.pk, user_id=user, timestamp_ms=timestamp_ms)

    issue_coupons([IssueRequest(event=event, place=Place(0, 0))])

    requested_at = IssueOutcome.objects.get().requested_at
    assert round(requested_at.timestamp() * 1000) == timestamp_ms


def test_an_unknown_coupon_is_told_and_nothing_is_written() -> None:
    coupon, users = make_coupon(), make_users(2)
    [good] = make_requests(coupon.pk, users[:1])
    [bad] = make_requests(987_654, users[1:])

    with pytest.raises(CouponsNotFound) as told:
        issue_coupons([moved(bad, partition=1), good])

    assert told.value.requests == [moved(bad, partition=1)]
    assert not IssueOutcome.objects.exists()


def test_a_request_that_was_decided_before_its_coupon_was_deleted_is_a_replay() -> None:
    coupon, users = make_coupon(stock=0), make_users(1)
    requests = make_requests(coupon.pk, users)
    issue_coupons(requests)
    coupon.delete()

    assert decisions(issue_coupons(requests)) == [Decision.REPLAYED]


def test_one_id_for_two_coupons_is_decided_once_in_the_logs_order() -> None:
    first, second, [user] = make_coupon(), make_coupon(), make_users(1)
    [one] = make_requests(first.pk, [user])
    [other] = make_requests(second.pk, [user])
    same_id = structs.replace(other.event, request_id=one.event.request_id)
    other = structs.replace(other, event=same_id, place=Place(0, 1))

    assert decisions(issue_coupons([other, one])) == [Decision.ISSUED, Decision.REPLAYED]
    assert IssueOutcome.objects.get().coupon_id == second.pk


def test_an_unknown_user_is_rejected_and_takes_no_stock() -> None:
    coupon, users = make_coupon(stock=1), make_users(1)

    issued = issue_coupons(make_requests(coupon.pk, [987_654, *users]))

    assert decisions(issued) == [Decision.USER_NOT_FOUND, Decision.ISSUED]
    assert IssueOutcome.objects.get(user_id=987_654).reason == "USER_NOT_FOUND"


def test_a_coupon_closed_meanwhile_is_not_issued() -> None:
    coupon, users = make_coupon(coupon_status="CLOSED"), make_users(1)

    assert decisions(issue_coupons(make_requests(coupon.pk, users))) == [Decision.COUPON_CLOSED]
    assert left(coupon) == (100, 0)
    assert IssueOutcome.objects.get().reason == "COUPON_CLOSED"


def test_a_request_made_in_the_window_is_issued_after_it() -> None:
    now = timezone.now().replace(microsecond=0)
    coupon = make_coupon(opens_at=now - timedelta(hours=2), closes_at=now - timedelta(hours=1))
    users = make_users(3)
    hours_ago = [3.0, 1.5, 0.5]
    requests = [
        structs.replace(
            request,
            event=structs.replace(
                request.event, timestamp_ms=int((now - timedelta(hours=hours)).timestamp() * 1000)
            ),
        )
        for request, hours in zip(make_requests(coupon.pk, users), hours_ago, strict=True)
    ]

    assert decisions(issue_coupons(requests)) == [
        Decision.COUPON_CLOSED,
        Decision.ISSUED,
        Decision.COUPON_CLOSED,
    ]


def test_a_coupon_typed_in_by_hand_for_a_user_counts_as_theirs() -> None:
    coupon, [user] = make_coupon(), make_users(1)
    UserCoupon.objects.create(coupon=coupon, user_id=user)

    assert decisions(issue_coupons(make_requests(coupon.pk, [user]))) == [Decision.ALREADY_REQUESTED]


def test_ids_at_the_edge_of_the_column_are_decided() -> None:
    coupon = make_coupon()
    largest = 2**63 - 1
    [known] = make_requests(coupon.pk, [largest])
    [unknown] = make_requests(largest, [largest])

    assert decisions(issue_coupons([known])) == [Decision.USER_NOT_FOUND]
    with pytest.raises(CouponsNotFound):
        issue_coupons([moved(unknown, partition=1)])


def test_the_largest_batch_that_can_be_set_is_decided() -> None:
    coupon, users = make_coupon(stock=9_990), make_users(10_000)

    issued = issue_coupons(make_requests(coupon.pk, users))

    assert left(coupon) == (0, 9_990)
    assert decisions(issued).count(Decision.OUT_OF_STOCK) == 10


def test_the_coupons_row_is_locked_in_the_sql_where_the_database_can() -> None:
    coupon, users = make_coupon(), make_users(1)

    with CaptureQueriesContext(connection) as queries:
        issue_coupons(make_requests(coupon.pk, users))

    [read] = [query["sql"] for query in queries if _table(query["sql"]) == "coupon"]
    if connection.vendor == "mysql":
        assert read.endswith("FOR UPDATE")
    else:
        # SQLite takes its one write lock at BEGIN instead.
        assert connection.transaction_mode == "IMMEDIATE"  # type: ignore[attr-defined]


def test_the_row_is_locked_before_anything_is_looked_at() -> None:
    coupon, users = make_coupon(), make_users(1)

    with CaptureQueriesContext(connection) as queries:
        issue_coupons(make_requests(coupon.pk, users))

    tables = [name for query in queries if (name := _table(query["sql"]))]
    assert tables[0] == "coupon"
    assert set(tables[1:4]) == {"user", "coupon_issue_outcome", "user_coupon"}


def _table(sql: str) -> str | None:
    """The table a SELECT reads."""
    if not sql.startswith(("SELECT", "WITH asked")):
        return None
    # What is asked for comes first, and the table is joined to it.
    joined = sql.partition(" STRAIGHT_JOIN ")[2] or sql.partition(" LEFT JOIN ")[2]
    source = joined or sql.partition(" FROM ")[2]
    return source.split()[0].strip('`"')


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["deciding.take_stock", "claim_rows.insert_outcomes", "failures.record"])
def test_a_failure_before_the_commit_leaves_nothing(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(stock=5), make_users(2)
    requests = make_requests(coupon.pk, users)

    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError(2013, "Lost connection")

    with monkeypatch.context() as broken:
        broken.setattr(f"coupons.issuing.{step}", fail)
        with pytest.raises(OperationalError):
            issue_coupons(requests)

    assert left(coupon) == (5, 0)
    assert not UserCoupon.objects.exists()
    assert not IssueOutcome.objects.exists()
    # The same batch again, as the loop gives it, is decided as if nothing had been.
    assert decisions(issue_coupons(requests)) == [Decision.ISSUED] * 2


@pytest.mark.django_db(transaction=True)
def test_the_lock_is_given_back_only_when_others_can_see_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    coupon, users = make_coupon(), make_users(3)
    seen_by_others: list[int] = []

    def look() -> None:
        seen_by_others.append(UserCoupon.objects.filter(coupon_id=coupon.pk).count())
        connection.close()

    @contextmanager
    def looked_at_before_release(coupon_ids: Sequence[int]) -> Iterator[None]:
        with coupon_locks(coupon_ids):
            yield
            other = threading.Thread(target=look)
            other.start()
            other.join(10)

    monkeypatch.setattr(deciding, "coupon_locks", looked_at_before_release)

    issue_coupons(make_requests(coupon.pk, users))

    assert seen_by_others == [3]
