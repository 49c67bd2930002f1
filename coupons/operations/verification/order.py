"""Whether decisions were made in the log's order, as far as their moments can tell. Pure.

``processed_at`` is a clock's: another consumer's may be ahead, and each may be set back. What is certain is
that a transaction decides events that stand together in the log, so its moment does not come again after
another one's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.outcome_rows import OutcomeRow

#: Clocks that nobody looks after jump by minutes; a note about each jump would hide the changed row.
_JUMPS_BY_LESS: Final = timedelta(hours=1)


def transactions(decided: Sequence[OutcomeRow]) -> Iterator[Finding]:
    """``decided``: of one coupon in one partition, in log order."""
    over: set[datetime] = set()
    for before, after in pairwise(decided):
        if before.processed_at == after.processed_at:
            continue
        over.add(before.processed_at)
        if after.processed_at in over:
            yield Finding(
                check=Check.TRANSACTIONS_IN_LOG_ORDER,
                message=f"user {before.user_id}: dated {before.processed_at.isoformat()}, and stands in the "
                f"log between events of one transaction, of {after.processed_at.isoformat()}",
                coupon_id=after.coupon_id,
                request_id=str(before.request_id),
            )


def clocks_back(decided: Sequence[OutcomeRow]) -> int:
    """How often ``processed_at`` runs backwards in log order, by more than clocks commonly jump."""
    return sum(
        before.processed_at - after.processed_at > _JUMPS_BY_LESS for before, after in pairwise(decided)
    )
