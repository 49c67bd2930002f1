"""The first-come rule: the first N distinct valid users in log order win. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coupons.eventlog.events import IssueRequest
from coupons.outcomes import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponState:
    """The fields of the coupon's row that decisions depend on, read under its lock."""

    stock: int
    issued_count: int
    is_opened: bool
    opens_at_ms: int | None = None
    closes_at_ms: int | None = None

    def was_open_at(self, timestamp_ms: int) -> bool:
        """Whether the coupon's status is open now, and its window was open when the request was accepted."""
        return (
            self.is_opened
            and (self.opens_at_ms is None or timestamp_ms >= self.opens_at_ms)
            and (self.closes_at_ms is None or timestamp_ms < self.closes_at_ms)
        )


class Allocation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The decision on one request. A struct, because a batch has a thousand of them.

    ``rank``: a winner's place among the coupon's winners, from 1. ``stock_left``: the stock after this
    decision; None for a replay, which does not look at the stock.
    """

    request: IssueRequest
    decision: Decision
    rank: int | None = None
    stock_left: int | None = None


def allocate(
    requests: Sequence[IssueRequest],
    *,
    coupon: CouponState,
    holders: Collection[int],
    known_users: Collection[int],
    decided: Collection[UUID],
    eligible: Collection[int] | None = None,
) -> list[Allocation]:
    """Decide one coupon's requests, given in log order.

    ``holders``: users who have the coupon; ``known_users``: users who exist; ``decided``: request ids that
    have an outcome already; ``eligible``: users on the coupon's list, None if it has none. Returns one
    Allocation per request, in the same order.
    """
    stock, rank = coupon.stock, coupon.issued_count
    holding, settled = set(holders), set(decided)
    allocations = []
    for request in requests:
        event = request.event
        if event.request_id in settled:
            decision = Decision.REPLAYED
        elif event.user_id not in known_users:
            decision = Decision.USER_NOT_FOUND
        elif event.user_id in holding:
            decision = Decision.ALREADY_REQUESTED
        elif eligible is not None and event.user_id not in eligible:
            decision = Decision.NOT_ELIGIBLE
        elif not coupon.was_open_at(event.timestamp_ms):
            decision = Decision.COUPON_CLOSED
        elif stock < 1:
            decision = Decision.OUT_OF_STOCK
        else:
            decision = Decision.ISSUED
            stock, rank = stock - 1, rank + 1
            holding.add(event.user_id)
        settled.add(event.request_id)
        allocations.append(
            Allocation(
                request=request,
                decision=decision,
                rank=rank if decision is Decision.ISSUED else None,
                stock_left=None if decision is Decision.REPLAYED else stock,
            )
        )
    return allocations
