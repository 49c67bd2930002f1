"""What follows a commit: metrics, log lines, and Redis, which hears what was decided."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from consumer import dead_letters
from consumer.dead_letters import DeadMessage
from coupons import measures
from coupons.claim import Claim
from coupons.figures.counting import desk as figures
from coupons.figures.refusals import desk as refusals
from coupons.gate import pending
from coupons.gate.admission import (
    Decisions,
    GateUnavailable,
    gate,
)
from coupons.issuing.allocation import Allocation
from coupons.issuing.deciding import Issued
from coupons.outcomes import Decision
from runtime import logs, metrics

log = logging.getLogger(__name__)

#: Longer, and an error of one batch alone keeps later ones from their gates; shorter, and a failover outlasts
#: it.
LATE_S: Final = 30.0
_MOST_MISSED: Final = 100  #: batches of up to a thousand: a bound on memory
_REJECTIONS: Final = frozenset(each for each in Decision if each.is_rejection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A batch that is committed. ``rates``: how many events a second were decided, by partition."""

    issued: Issued
    letters: Sequence[DeadMessage]
    rates: Mapping[int, float]


class Teller:
    """Tells of batches, in their order. Belongs to the consumer's main thread, and waits for Redis there.

    What Redis could not be told while it was away it is told once it answers. A gate that was loaded
    meanwhile holds slots of decided requests until then: after a failover of Redis people were told that all
    are gone a second too early.
    """

    def __init__(self) -> None:
        #: batches that the gates do not know yet, with the moment of their commit (monotonic seconds)
        self._missed: deque[tuple[float, Committed]] = deque()

    def tell(self, committed: Committed) -> None:
        """Tell operators and Redis of a batch. If Redis is away, only log it, and tell it later."""
        _report(committed.issued, committed.letters)
        self.notify_gate(committed)

    def notify_gate(self, committed: Committed) -> None:
        """Free reservations, remember winners, note the pace.

        A seam: dev/faults stops a consumer here, which has committed and told nobody.
        """
        self._missed.append((time.monotonic(), committed))
        self.notify_missed()
        if self._missed:
            log.warning("Redis is not notified of %d decisions yet", len(committed.issued.allocations))

    def notify_missed(self) -> None:
        """Notify the gates of what they missed. Costs nothing where that is nothing."""
        while self._missed:
            since, committed = self._missed[0]
            is_late = time.monotonic() - since > LATE_S or len(self._missed) > _MOST_MISSED
            try:
                _notify(committed, is_late=is_late)
            except GateUnavailable:
                if not is_late:
                    return
                # If Redis comes back empty, the gate is loaded anew from the database and the log. If it kept
                # its data, housekeeping frees these reservations (coupons/gate/catching_up.py).
            self._missed.popleft()


def _report(issued: Issued, letters: Sequence[DeadMessage]) -> None:
    counts = figures.decided((a.request.event.coupon_id, a.decision.value) for a in issued.allocations)
    measures.events_decided(counts)
    figures.decided((claim.coupon_id, "FAILED") for each in letters if (claim := each.claim) is not None)
    won = issued.user_coupon_ids
    logs.info_each(log, "쿠폰 발급 성공 - EventId: %s, UserCouponId: %s", list(won.items()))
    lost = [each for each in issued.allocations if each.decision in _REJECTIONS]
    rejected = [(a.request.event.request_id, a.decision) for a in lost]
    refusals.decided((a.request.event.claim, a.decision.value) for a in lost)
    refusals.decided((claim, each.reason.value) for each in letters if (claim := each.claim) is not None)
    logs.info_each(log, "쿠폰 발급 거절 - EventId: %s, Reason: %s", rejected)
    dead_letters.report(letters)
    deferred = [(r.event.request_id, r.event.user_id, r.event.coupon_id) for r in issued.deferred]
    metrics.EVENTS_DEFERRED.inc(len(deferred))
    logs.info_each(log, "쿠폰 발급 이벤트 보류 - EventId: %s, UserId: %s, CouponId: %s", deferred)


def _notify(committed: Committed, *, is_late: bool) -> None:
    issued = committed.issued
    decided: defaultdict[int, list[tuple[Claim, bool]]] = defaultdict(list)
    for allocation in issued.allocations:
        decided[allocation.request.event.coupon_id].append(_settled(allocation))
    failed = [claim for letter in committed.letters if (claim := letter.claim) is not None]
    request_ids = [claim.request_id for group in decided.values() for claim, _ in group]
    gate.notify(
        [
            Decisions(
                coupon_id=coupon_id,
                epoch=snapshot.epoch,
                issued_count=snapshot.issued_count,
                decided=decided[coupon_id],
            )
            for coupon_id, snapshot in issued.coupons.items()
        ]
    )
    gate.release(failed)
    rates = {} if is_late else committed.rates
    try:
        pending.forget([*request_ids, *(claim.request_id for claim in failed)], rates)
    except RedisError as error:
        log.warning("%d decided requests are still tracked in Redis: %s", len(request_ids), error)


def _settled(allocation: Allocation) -> tuple[Claim, bool]:
    """The claim, and whether it is a new winner. A replay of a winner is not: only its slot is freed."""
    return allocation.request.event.claim, allocation.decision is Decision.ISSUED
