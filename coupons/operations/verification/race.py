"""Checks one coupon's decisions in log order: the first users won, and no user was passed over.

Operators may change the stock, close and open a coupon, and add users at any moment, without leaving a trace.
So a contradiction between two transactions is a note at most. Within one transaction nothing can change,
because the coupon's row is locked: decisions with the same ``processed_at`` must agree.
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
from coupons.operations.verification.findings import Check, Finding, finding
from coupons.operations.verification.outcome_rows import OutcomeRow
from coupons.outcomes import Decision
from runtime.operator_language import say

#: A user's creation time may have been typed in any time zone. So it certainly lies before a moment only if
#: it is a day and the whole width of the zones (26 hours) earlier.
_BEFORE_FOR_CERTAIN: Final = timedelta(hours=24 + 26)
_NEEDS_AN_OPEN_COUPON: Final = {None, Decision.OUT_OF_STOCK.value}  #: reasons; None: issued


class StockNow(NamedTuple):
    """The stock of a coupon's row that differs from the stock that the last decision ``left``."""

    left: int
    stock: int


class Race:
    """``findings`` fills the counts too. ``stock_changes``: by operators, seen between transactions.

    ``perhaps_known_users``: rejected with USER_NOT_FOUND, and there now. ``clocks_back``: decisions dated
    long before earlier ones in the log. ``is_spread``: whether several partitions have the coupon's events,
    without an order between them. ``stock_now``: the row's stock, if the last decision left another one.
    """

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
                yield from ranks(before, after, is_alone=is_alone)
            for before, after in pairwise(decided):
                yield from self._stock(before, after, is_alone=is_alone)
            yield from order.transactions(decided)
            self.clocks_back += order.clocks_back(decided)
        if is_alone:
            self._look_at_stock_now(self._all[-1])
        yield from _decided_closed(self._all)
        yield from self._decided_unknown()

    def _is_in_one_partition(self) -> bool:
        """Whether all outcomes are of one partition; the log may have lost another partition's events."""
        outcomes = IssueOutcome.objects.filter(
            coupon_id=self._coupon_id, coupon_epoch=self._all[0].coupon_epoch, kafka_partition__isnull=False
        )
        return len(outcomes.values_list("kafka_partition").distinct()[:2]) == 1

    def _stock(self, before: OutcomeRow, after: OutcomeRow, *, is_alone: bool) -> Iterator[Finding]:
        if before.stock_left is None or after.stock_left is None:
            return  # not whole: the check ``whole`` (database.py) has that finding
        found = after.stock_left + after.is_issued
        if found == before.stock_left:
            return
        if before.processed_at != after.processed_at:
            self.stock_changes += is_alone
        elif found > before.stock_left or is_alone:
            yield finding(
                Check.STOCK_ADDS_UP,
                after.coupon_id,
                say(
                    "user {user_id} was told {reason} on a stock of {found}; the decision before "
                    "it, in the same transaction, had left {stock_left}",
                    user_id=after.user_id,
                    reason=after.reason or after.status,
                    found=found,
                    stock_left=before.stock_left,
                ),
                after.request_id,
            )

    def _look_at_stock_now(self, last: OutcomeRow) -> None:
        """Note a stock that differs from the last decision's: an operator changed it, without a trace."""
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
                yield finding(
                    Check.NOBODY_SKIPPED,
                    each.coupon_id,
                    say(
                        "user {user_id} was told USER_NOT_FOUND, and had been there for days",
                        user_id=each.user_id,
                    ),
                    each.request_id,
                )
            else:
                self.perhaps_known_users += 1


def _holders(decided: Sequence[OutcomeRow], from_elsewhere: set[int | None]) -> Iterator[Finding]:
    """Users who have the coupon are rejected with ALREADY_REQUESTED from then on, and no other users are."""
    winners: set[int | None] = set()
    for each in decided:
        wrong = None
        if each.reason == Decision.ALREADY_REQUESTED.value:
            if each.user_id not in winners | from_elsewhere:
                wrong = say("was told ALREADY_REQUESTED and had won nothing before")
        elif each.user_id in winners:
            then = (
                say("was issued a second coupon")
                if each.is_issued
                else say("was told {reason}", reason=each.reason)
            )
            wrong = say("had won and {then}, not ALREADY_REQUESTED", then=then)
        if each.is_issued:
            winners.add(each.user_id)
        if wrong:
            yield finding(
                Check.WINNERS_IN_LOG_ORDER,
                each.coupon_id,
                say("user {user_id} {wrong}", user_id=each.user_id, wrong=wrong),
                each.request_id,
            )


def ranks(before: OutcomeRow, after: OutcomeRow, *, is_alone: bool) -> Iterator[Finding]:
    """Ranks rise one by one; if there are several partitions, another one may have the ranks in between."""
    if before.rank is None or after.rank is None:
        return
    if after.rank <= before.rank or (is_alone and after.rank != before.rank + 1):
        yield finding(
            Check.WINNERS_IN_LOG_ORDER,
            after.coupon_id,
            say(
                "user {user_id} has rank {rank}, and is the next winner after rank {rank_before}",
                user_id=after.user_id,
                rank=after.rank,
                rank_before=before.rank,
            ),
            after.request_id,
        )


def _decided_closed(decided: Sequence[OutcomeRow]) -> Iterator[Finding]:
    """A coupon is open without a gap: between two requests that found it open, no request found it closed."""
    transactions: defaultdict[object, list[OutcomeRow]] = defaultdict(list)
    for each in decided:
        transactions[each.processed_at].append(each)
    for group in transactions.values():
        open_at = [each.timestamp_ms for each in group if each.reason in _NEEDS_AN_OPEN_COUPON]
        for each in group:
            if each.reason != Decision.COUPON_CLOSED.value or not open_at:
                continue
            if min(open_at) <= each.timestamp_ms <= max(open_at):
                yield finding(
                    Check.NOBODY_SKIPPED,
                    each.coupon_id,
                    say(
                        "user {user_id} was told COUPON_CLOSED; in the same transaction the coupon was "
                        "open for requests made before and after",
                        user_id=each.user_id,
                    ),
                    each.request_id,
                )
