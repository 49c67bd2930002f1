"""What one consumer of the group looks after each minute, for the metrics: letters, clocks, verifying."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Final

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from coupons.eventlog import deferred
from coupons.eventlog.backlog import LogUnavailable
from coupons.models import Coupon, DeadLetter, DeadLetterState
from coupons.operations.verification.recent import Look, Recent
from runtime import metrics

log = logging.getLogger(__name__)

#: Shorter, and nobody is told sooner who looks at metrics; longer, and an alert comes later.
EVERY_S: Final = 60.0
#: Verifying shares its process with the deciding loop. While there is much to verify, it may take this part
#: of a core. More, and deciding is slower in a rush; less, and a mistake is found later.
_SHARE: Final = 0.02
_LOGGED: Final = 5  #: findings of one look


class Watch:
    """For the thread of housekeeping."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._next_look = self._next_verifying = 0.0
        self._told: set[str] = set()

    def look(self) -> None:
        """Look if it is time. Raises database errors."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + EVERY_S
            waiting = DeadLetter.objects.filter(state=DeadLetterState.WAITING)
            metrics.DEAD_LETTERS_WAITING.set(waiting.count())
            metrics.DEFERRED_WAITING.set(Coupon.objects.aggregate(all=Sum("deferred_count"))["all"] or 0)
            oldest = deferred.oldest()
            waits_s = 0.0 if oldest is None else (timezone.now() - oldest).total_seconds()
            metrics.DEFERRED_OLDEST_SECONDS.set(max(0.0, waits_s))
            metrics.DATABASE_CLOCK.set(_clock_offset_s())
        if now >= self._next_verifying:
            self._verify()

    def rest(self) -> None:
        """Another consumer looks: what this one last saw must not be taken for what is so."""
        self._next_look = self._next_verifying = 0.0
        for gauge in (
            metrics.DEAD_LETTERS_WAITING,
            metrics.DEFERRED_WAITING,
            metrics.DEFERRED_OLDEST_SECONDS,
            metrics.DATABASE_CLOCK,
            metrics.VERIFY_FINDINGS,
            metrics.VERIFY_BEHIND,
        ):
            gauge.set(0)

    def _verify(self) -> None:
        began, cpu_s = time.monotonic(), time.thread_time()
        self._next_verifying = began + EVERY_S  # where it fails too
        try:
            look = self._recent.look()
        except LogUnavailable as error:
            log.info("what was decided lately is not verified: %s", error)
            return
        rest_s = min((time.thread_time() - cpu_s) / _SHARE, EVERY_S) if look.behind else EVERY_S
        self._next_verifying = time.monotonic() + rest_s
        metrics.VERIFY_FINDINGS.set(len(look.findings))
        metrics.VERIFY_BEHIND.set(look.behind)
        metrics.VERIFIED_AT.set(time.time())
        self._tell(look)

    def _tell(self, look: Look) -> None:
        """Log each finding once, as long as it stands."""
        told = {f"{each.check}: coupon {each.coupon_id}: {each.message}" for each in look.findings}
        for line in sorted(told - self._told)[:_LOGGED]:
            log.error("verify: %s", line)
        self._told = told


def _clock_offset_s() -> float:
    """The database's clock minus ours; 0 for a database in this machine's files."""
    if connection.vendor == "sqlite":
        return 0.0
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        [(there,)] = cursor.fetchall()
        here = (before + time.time()) / 2
    moment: datetime = there if there.tzinfo else there.replace(tzinfo=UTC)
    return moment.timestamp() - here
