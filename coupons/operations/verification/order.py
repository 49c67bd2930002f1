"""Whether decisions were made in the log's order, as far as their moments show. Pure.

``processed_at`` comes from a clock: another consumer's may be ahead, and each may be set back. One thing is
certain: a transaction decides events that stand together in the log, so its moment does not come again after
another transaction's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from coupons.operations.verification.findings import Check, Finding
from coupons.operations.verification.outcome_rows import OutcomeRow
from runtime.operator_language import say

#: Neglected clocks jump by minutes, and a note about each jump would hide a changed row. Less, and clocks
#: cause notes; more, and a changed row is not noted.
_JUMPS_BY_LESS: Final = timedelta(hours=1)


def transactions(decided: Sequence[OutcomeRow]) -> Iterator[Finding]:
    """Transactions whose moment comes again. ``decided``: one coupon's, in one partition, in log order."""
    over: set[datetime] = set()
    for before, after in pairwise(decided):
        if before.processed_at == after.processed_at:
            continue
        over.add(before.processed_at)
        if after.processed_at in over:
            yield Finding(
                check=Check.TRANSACTIONS_IN_LOG_ORDER,
                message=say(
                    "user {user_id}: dated {processed_at}, and stands in the log between events of "
                    "one transaction, of {around}",
                    user_id=before.user_id,
                    processed_at=before.processed_at.isoformat(),
                    around=after.processed_at.isoformat(),
                ),
                coupon_id=after.coupon_id,
                request_id=str(before.request_id),
            )


def clocks_back(decided: Sequence[OutcomeRow]) -> int:
    """How often ``processed_at`` runs backwards in log order, by more than _JUMPS_BY_LESS."""
    return sum(
        before.processed_at - after.processed_at > _JUMPS_BY_LESS for before, after in pairwise(decided)
    )
