"""Who was told no, and why: a sample that is bounded, so that support can answer "why did I not get it?".

Kept: refusals for a reason that a user may complain about (sold out, not open, paused, …), and requests that
were accepted and then rejected. Not kept: refusals for haste or for what the client did wrong, and
ALREADY_REQUESTED, which names the first request. At most MOST_A_SECOND a second and MOST_OF_COUPON of each
coupon in one process, and for KEPT of time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.utils import timezone

from coupons.claim import Claim
from coupons.models import Refusal
from coupons.outcomes import Code

log = logging.getLogger(__name__)

#: Rows that a process writes a second: some 5 ms of the database. More, and the end of an event costs the
#: database more than issuing; fewer, and support knows fewer of those who came too late.
MOST_A_SECOND: Final = 500
#: Of one coupon, in one process: some 5 MB. The figures count all of them.
MOST_OF_COUPON: Final = 50_000
KEPT: Final = timedelta(days=180)
_FORGOTTEN_AT_ONCE: Final = 5_000
_NO_COMPLAINT: Final = frozenset(
    {
        "ACCEPTED",
        Code.ALREADY_REQUESTED.value,
        Code.USER_NOT_FOUND.value,
        Code.COUPON_NOT_FOUND.value,
        Code.INVALID_REQUEST.value,
        Code.IDENTITY_NOT_PROVEN.value,
        Code.TOO_MANY_REQUESTS.value,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One claim that was refused, or accepted and rejected: then with its request's id."""

    user_id: int
    coupon_id: int
    code: str
    request_id: UUID | None
    second: int


@dataclass(slots=True)
class RefusalDesk:
    """Where refusals lie until the flushing thread writes them. ``left``: how many more of this second."""

    is_open: bool = False
    left: int = MOST_A_SECOND
    lying: deque[Told] = field(default_factory=lambda: deque(maxlen=10 * MOST_A_SECOND))
    _of_coupon: Counter[int] = field(default_factory=Counter)

    def answered(self, claims: Iterable[Claim], outcomes: Iterable[str]) -> None:
        """Note the refusals of a batch's answers. Called in a worker's hub."""
        if self.is_open and self.left > 0:
            pairs = zip(claims, outcomes, strict=True)
            self._note(
                ((claim, code) for claim, code in pairs if code not in _NO_COMPLAINT), was_accepted=False
            )

    def decided(self, rejected: Iterable[tuple[Claim, str]]) -> None:
        """Note requests that were accepted and rejected. Called in the consumer's loop."""
        if self.is_open and self.left > 0:
            self._note(rejected, was_accepted=True)

    def _note(self, told: Iterable[tuple[Claim, str]], *, was_accepted: bool) -> None:
        second = int(time.time())
        for claim, code in told:
            if self.left <= 0:
                return
            self.left -= 1
            request_id = claim.request_id if was_accepted else None
            self.lying.append(
                Told(
                    user_id=claim.user_id,
                    coupon_id=claim.coupon_id,
                    code=code,
                    request_id=request_id,
                    second=second,
                )
            )

    def flush(self) -> None:
        """Write what lies there: a row for each user, coupon, reason and second. Raises database errors.

        Called by the flushing thread. What it had in hand when the database failed is lost: a sample.
        """
        told = []
        while self.lying:
            told.append(self.lying.popleft())
        self.left = MOST_A_SECOND
        rows = [each for each in Counter(told).items() if self._may_keep(each[0].coupon_id)]
        Refusal.objects.bulk_create(
            [
                Refusal(
                    user_id=each.user_id,
                    coupon_id=each.coupon_id,
                    code=each.code[:40],
                    count=count,
                    request_id=each.request_id,
                    refused_at=datetime.fromtimestamp(each.second, tz=UTC),
                )
                for each, count in rows
            ],
            batch_size=MOST_A_SECOND,
        )

    def _may_keep(self, coupon_id: int) -> bool:
        self._of_coupon[coupon_id] += 1
        return self._of_coupon[coupon_id] <= MOST_OF_COUPON


desk: Final = RefusalDesk()


def forget_old() -> int:
    """Delete some rows that are older than KEPT; returns how many. The oldest are the first ones."""
    oldest = Refusal.objects.order_by("pk").values_list("pk", "refused_at")[:_FORGOTTEN_AT_ONCE]
    until = timezone.now() - KEPT
    old = [pk for pk, refused_at in oldest if refused_at < until]
    if old:
        Refusal.objects.filter(pk__in=old).delete()
    return len(old)
