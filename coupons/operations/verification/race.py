"""One coupon's decisions, replayed in log order: who came first won, and nobody was passed over.

Operators may change the stock, close and open a coupon, and add users at any moment, without leaving a
trace. So what changed between two transactions is told as a note at the most. Within one transaction
nothing can have changed, for the coupon's row is locked: decisions of the same ``processed_at`` must agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from django.db.models import Max

from coupons.models import Coupon, IssueOutcome, User, UserCoupon
from coupons.operations.verification import order
from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.outcome_rows import OutcomeRow
from coupons.outcomes import Decision

#: A user's creation may have been typed in any time zone: it was before a moment for certain only if it
#: is told to be a day, and the zones' whole width, before it.
_BEFORE_FOR_CERTAIN: Final = timedelta(hours=24 + 26)
_NEEDS_AN_OPEN_COUPON: Final = {None, Decision.OUT_OF_STOCK.value}  #: reasons; None: issued


class StockNow(NamedTuple):
    """Of a coupon's row, where it is not what the last decision ``left``."""

    left: int
    stock: int


class Race:
    """``findings`` counts too. ``stock_changes``: from outside, that show between transactions.
    ``perhaps_known_users``: told USER_NOT_FOUND, and there now. ``clocks_back``: decisions dated long before
    what stands before them in the log. ``is_spread``: over partitions, which have no order between them.
    ``stock_now``: of the row, where the last decision left another."""

    def __init__(self, coupon_id: int, decided: Sequence[OutcomeRow]) -> None:
        self._coupon_id = coupon_id
        self._by_partition: defaultdict[int, list[OutcomeRow]] = defaultdict(list)
        for each in sorted(decided, key=lambda each: each.kafka_offset or 0):
            self._by_partition[each.kafka_partition or 0].append(each)
        self._all = [each for _, group in sorted(self._by_partition.items()) for each in group]
        self.stock_changes = self.perhaps_known_users = self.clocks_back = 0
        self.is_spread = False
        self.stock_now: StockNow | None = None

    def findings(self) -> Iterator[Finding]:
        if not self._all:
            return
        is_alone = self._is_in_one_partition()
        self.is_spread = not is_alone
        held = UserCoupon.objects.filter(coupon_id=self._coupon_id).values_list("user_id", "request_id")
        requests = {each.request_id for each in self._all}
        from_elsewhere: set[int | None] = {
            user_id for user_id, request_id in held if request_id not in requests
        }
        for partition, decided in self._by_partition.items():
            in_others = {e.user_id for e in self._all if e.is_issued and e.kafka_partition != partition}
            yield from _holders(decided, from_elsewhere | in_others)
            for before, after in pairwise([each for each in decided if each.is_issued]):
                yield from _ranks(before, after, is_alone=is_alone)
            for before, after in pairwise(decided):
                yield from self._stock(before, after, is_alone=is_alone)
            yield from order.transactions(decided)
            self.clocks_back += order.clocks_back(decided)
        if is_alone:
            self._look_at_stock_now(self._all[-1])
        yield from _decided_closed(self._all)
        yield from self._decided_unknown()

    def _is_in_one_partition(self) -> bool:
        """The order between partitions is not known. Retention may have taken a second one's events."""
        outcomes = IssueOutcome.objects.filter(
            coupon_id=self._coupon_id, coupon_epoch=self._all[0].coupon_epoch, kafka_partition__isnull=False
        )
        return len(outcomes.values_list("kafka_partition").distinct()[:2]) == 1

    def _stock(self, before: OutcomeRow, after: OutcomeRow, *, is_alone: bool) -> Iterator[Finding]:
        if before.stock_left is None or after.stock_left is None:
            return  # not whole, which is told elsewhere
        found = after.stock_left + after.is_issued
        if found == before.stock_left:
            return
        if before.processed_at != after.processed_at:
            self.stock_changes += is_alone
        elif found > before.stock_left or is_alone:
            yield _finding(
                Check.STOCK_ADDS_UP,
                after,
                f"user {after.user_id} was told {after.reason or after.status} on a stock of {found}; the "
                f"decision before it, in the same transaction, had left {before.stock_left}",
            )

    def _look_at_stock_now(self, last: OutcomeRow) -> None:
        """Issuing leaves the row's stock as its last decision says; whoever changes it leaves no trace."""
        coupon = Coupon.objects.filter(pk=self._coupon_id).first()
        outcomes = IssueOutcome.objects.filter(coupon_id=self._coupon_id, coupon_epoch=last.coupon_epoch)
        is_last = outcomes.aggregate(last=Max("kafka_offset"))["last"] == last.kafka_offset
        if coupon is None or last.stock_left is None or not is_last:
            return  # more was decided since the log was read, or from another log
        if coupon.stock != last.stock_left:
            self.stock_now = StockNow(left=last.stock_left, stock=coupon.stock)

    def _decided_unknown(self) -> Iterator[Finding]:
        unknown = [each for each in self._all if each.reason == Decision.USER_NOT_FOUND.value]
        users = User.objects.in_bulk({each.user_id for each in unknown})
        for each in unknown:
            user = users.get(each.user_id)
            if user is None:
                continue
            if user.created_at + _BEFORE_FOR_CERTAIN < each.processed_at:
                yield _finding(
                    Check.NOBODY_SKIPPED,
                    each,
                    f"user {each.user_id} was told USER_NOT_FOUND, and had been there for days",
                )
            else:
                self.perhaps_known_users += 1


def _holders(decided: Sequence[OutcomeRow], from_elsewhere: set[int | None]) -> Iterator[Finding]:
    """Who has the coupon is told ALREADY_REQUESTED from then on, and nobody else is."""
    winners: set[int | None] = set()
    for each in decided:
        wrong = None
        if each.reason == Decision.ALREADY_REQUESTED.value:
            if each.user_id not in winners | from_elsewhere:
                wrong = "was told ALREADY_REQUESTED and had won nothing before"
        elif each.user_id in winners:
            then = "was issued a second coupon" if each.is_issued else f"was told {each.reason}"
            wrong = f"had won and {then}, not ALREADY_REQUESTED"
        if each.is_issued:
            winners.add(each.user_id)
        if wrong:
            yield _finding(Check.WINNERS_IN_LOG_ORDER, each, f"user {each.user_id} {wrong}")


def _ranks(before: OutcomeRow, after: OutcomeRow, *, is_alone: bool) -> Iterator[Finding]:
    """One after the other; in another partition may be those between."""
    if before.rank is None or after.rank is None:
        return
    if after.rank <= before.rank or (is_alone and after.rank != before.rank + 1):
        yield _finding(
            Check.WINNERS_IN_LOG_ORDER,
            after,
            f"user {after.user_id} has rank {after.rank}, and is the next winner after rank {before.rank}",
        )


def _decided_closed(decided: Sequence[OutcomeRow]) -> Iterator[Finding]:
    """A coupon is open from one moment to another: what lies between two that found it open did, too."""
    transactions: defaultdict[object, list[OutcomeRow]] = defaultdict(list)
    for each in decided:
        transactions[each.processed_at].append(each)
    for group in transactions.values():
        open_at = [each.timestamp_ms for each in group if each.reason in _NEEDS_AN_OPEN_COUPON]
        for each in group:
            if each.reason != Decision.COUPON_CLOSED.value or not open_at:
                continue
            if min(open_at) <= each.timestamp_ms <= max(open_at):
                yield _finding(
                    Check.NOBODY_SKIPPED,
                    each,
                    f"user {each.user_id} was told COUPON_CLOSED; in the same transaction the coupon was "
                    "open for requests made before and after",
                )


def _finding(check: Check, each: OutcomeRow, message: str) -> Finding:
    return Finding(check=check, message=message, coupon_id=each.coupon_id, request_id=str(each.request_id))
