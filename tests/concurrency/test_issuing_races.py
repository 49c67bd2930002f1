"""Two consumers on one coupon with the Redis lock away: the database alone keeps the promises.

Each race meets in the middle: both transactions have decided before either writes, if the row lock
lets them. The proofs take the lock away and see the race go wrong, so that these tests can fail.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.db.models import F, QuerySet

from coupons.eventlog.events import IssueRequest
from coupons.eventlog.place import Place
from coupons.issuing import deciding
from coupons.issuing.allocation import Allocation, allocate
from coupons.issuing.deciding import Issued, StockChangedUnderLock, issue_coupons
from coupons.models import Coupon, IssueOutcome, UserCoupon
from coupons.outcomes import Decision
from tests.factories import make_coupon, make_requests, make_users

pytestmark = pytest.mark.django_db(transaction=True)

Result = list[Decision] | Exception


@pytest.fixture(autouse=True)
def _redis_lock_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "coupon_locks", lambda coupon_ids: nullcontext())


@pytest.fixture
def _both_decide_before_either_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database lets the second decide. Where it makes it wait, the first goes on after a moment."""
    meeting = threading.Barrier(2)

    def allocate_then_meet(requests: Sequence[IssueRequest], **known: Any) -> list[Allocation]:
        allocations = allocate(requests, **known)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(3)
        return allocations

    monkeypatch.setattr(deciding, "allocate", allocate_then_meet)


@pytest.fixture
def _row_lock_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """No SELECT ... FOR UPDATE; on SQLite, transactions that take no lock when they begin."""
    monkeypatch.setattr(QuerySet, "select_for_update", lambda rows: rows.all())
    monkeypatch.setattr(
        "django.db.backends.sqlite3.base.DatabaseWrapper._start_transaction_under_autocommit", _begin
    )


def _begin(wrapper: Any) -> None:
    wrapper.cursor().execute("BEGIN")


meet = pytest.mark.usefixtures("_both_decide_before_either_writes")
without_row_lock = pytest.mark.usefixtures("_row_lock_away", "_both_decide_before_either_writes")


def at_once(*batches: Sequence[IssueRequest]) -> list[Result]:
    """Decide these batches at the same time, each in a thread as in a consumer of its own."""

    def decide(batch: Sequence[IssueRequest]) -> Result:
        try:
            issued: Issued = issue_coupons(batch)
            return [allocation.decision for allocation in issued.allocations]
        except (DatabaseError, StockChangedUnderLock) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(batches)) as consumers:
        return list(consumers.map(decide, batches))


def batches_of(coupon: Coupon, *users: Sequence[int]) -> list[list[IssueRequest]]:
    """One batch for each list of users, in partitions of their own."""
    return [make_requests(coupon.pk, list(each), partition=n) for n, each in enumerate(users)]


def errors(results: Sequence[Result]) -> list[Exception]:
    return [result for result in results if isinstance(result, Exception)]


@meet
def test_the_last_coupon_is_issued_once() -> None:
    coupon, (first, second) = make_coupon(stock=1), make_users(2)

    results = at_once(*batches_of(coupon, [first], [second]))

    assert sorted(map(str, results)) == [
        "[<Decision.ISSUED: 'ISSUED'>]",
        "[<Decision.OUT_OF_STOCK: 'OUT_OF_STOCK'>]",
    ]
    coupon.refresh_from_db()
    assert (coupon.stock, coupon.issued_count, UserCoupon.objects.count()) == (0, 1, 1)


@meet
def test_two_claims_of_one_user_at_once_are_one_coupon() -> None:
    coupon, [user] = make_coupon(stock=10), make_users(1)

    results = at_once(*batches_of(coupon, [user], [user]))

    assert [Decision.ISSUED] in results
    assert [Decision.ALREADY_REQUESTED] in results
    coupon.refresh_from_db()
    assert (coupon.stock, UserCoupon.objects.count(), IssueOutcome.objects.count()) == (9, 1, 2)


@meet
def test_one_batch_delivered_to_two_consumers_is_decided_once() -> None:
    coupon, users = make_coupon(stock=2), make_users(3)
    batch = make_requests(coupon.pk, users)

    results = at_once(batch, batch)

    assert not errors(results)
    assert [Decision.REPLAYED] * 3 in results
    coupon.refresh_from_db()
    assert (coupon.stock, UserCoupon.objects.count(), IssueOutcome.objects.count()) == (0, 2, 3)


@without_row_lock
def test_proof_without_the_row_lock_the_last_coupon_is_fought_for() -> None:
    """And then the conditional UPDATE refuses the second: nothing is lost, its batch is tried again."""
    coupon, (first, second) = make_coupon(stock=1), make_users(2)

    [error] = errors(at_once(*batches_of(coupon, [first], [second])))

    # SQLite refuses to write on what it read before the other's commit.
    assert isinstance(error, StockChangedUnderLock if connection.vendor == "mysql" else OperationalError)
    coupon.refresh_from_db()
    assert (coupon.stock, UserCoupon.objects.count()) == (0, 1)


@without_row_lock
def test_proof_without_the_row_lock_and_the_condition_the_check_constraint_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take_without_looking(winners: Sequence[Allocation], now: object) -> None:
        coupon_id = winners[0].request.event.coupon_id
        Coupon.objects.filter(pk=coupon_id).update(stock=F("stock") - len(winners))

    monkeypatch.setattr(deciding, "take_stock", take_without_looking)
    coupon, (first, second) = make_coupon(stock=1), make_users(2)

    [error] = errors(at_once(*batches_of(coupon, [first], [second])))

    assert isinstance(error, DatabaseError)
    coupon.refresh_from_db()
    assert (coupon.stock, UserCoupon.objects.count()) == (0, 1)


@without_row_lock
def test_proof_without_any_of_these_the_race_over_issues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can: MySQL and MariaDB. SQLite has one more guard that no setting of ours takes away."""

    def write_what_was_read(winners: Sequence[Allocation], now: object) -> None:
        coupon_id = winners[0].request.event.coupon_id
        Coupon.objects.filter(pk=coupon_id).update(stock=winners[-1].stock_left)

    monkeypatch.setattr(deciding, "take_stock", write_what_was_read)
    coupon, (first, second) = make_coupon(stock=1), make_users(2)

    failed = errors(at_once(*batches_of(coupon, [first], [second])))

    if connection.vendor == "mysql":
        assert (len(failed), UserCoupon.objects.count()) == (0, 2)
    else:
        assert (len(failed), UserCoupon.objects.count()) == (1, 1)


@without_row_lock
def test_proof_without_the_row_lock_the_unique_claim_is_what_stops_a_second_coupon() -> None:
    coupon, [user] = make_coupon(stock=10), make_users(1)

    [error] = errors(at_once(*batches_of(coupon, [user], [user])))

    assert isinstance(error, DatabaseError)
    assert UserCoupon.objects.count() == 1


def until_decided(decide: Callable[[], object]) -> None:
    """Try again what the database refused for the moment, as the consumer's loop does."""
    for _ in range(50):
        try:
            decide()
            return
        except OperationalError:
            connection.close()
    raise AssertionError("refused 50 times")


def cut_log(coupons: Sequence[Coupon], users: Sequence[int], *, partition: int) -> list[list[IssueRequest]]:
    """A partition where every user asks for every coupon, shuffled, in batches."""
    requests = [request for coupon in coupons for request in make_requests(coupon.pk, list(users))]
    random.Random(partition).shuffle(requests)
    log = [
        IssueRequest(event=request.event, place=Place(partition, offset))
        for offset, request in enumerate(requests)
    ]
    return [log[start : start + 15] for start in range(0, len(log), 15)]


def test_many_consumers_on_two_coupons_issue_exactly_the_stock() -> None:
    coupons, users = [make_coupon(stock=25), make_coupon(stock=200)], make_users(60)

    def consume(partition: int) -> None:
        for batch in cut_log(coupons, users, partition=partition):
            until_decided(partial(issue_coupons, batch))
        connection.close()

    with ThreadPoolExecutor(4) as consumers:
        list(consumers.map(consume, range(4)))

    for coupon, issued in zip(coupons, (25, 60), strict=True):
        stock = coupon.stock
        coupon.refresh_from_db()
        assert (coupon.stock, coupon.issued_count) == (stock - issued, issued)
        assert UserCoupon.objects.filter(coupon=coupon).count() == issued
        winners = IssueOutcome.objects.filter(coupon_id=coupon.pk, status="ISSUED")
        ranks = winners.order_by("claim_rank").values_list("claim_rank", flat=True)
        assert list(ranks) == list(range(1, issued + 1))
    assert IssueOutcome.objects.count() == 4 * 2 * 60
