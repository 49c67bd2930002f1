"""A claim that waits for its answer, and for how long it may."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings

from coupons.claim import Claim
from coupons.claims.limiting import Counted
from coupons.claims.submitting import Answer

#: A claim of a partition that is known to be dead waits no longer for its screening. Shorter, and on a busy
#: machine people are told to try again who have the coupon; longer, and it takes longer than the second that
#: such a claim may: where two brokers start on two cores the loop itself stood still for 0.5 s.
DOOMED_S: Final = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One budget for all that a claim waits for, from its arrival: see ``ProducerSettings``."""

    claim: Claim
    answer: Callable[[Answer | Exception], None]
    counted: Counted | None = None  #: None: no limit concerns it
    since: float = field(default_factory=time.monotonic)
    was_loaded: bool = False  #: the gate was loaded for this claim at least once

    @property
    def is_over(self) -> bool:
        """Whether it has waited for as long as any claim may: nothing that is begun now ends in time."""
        return time.monotonic() >= self.since + settings.CONFIG.producer.waiting_s

    @property
    def is_late_if_doomed(self) -> bool:
        """Whether it has waited for as long as it may, if its partition is known to be dead."""
        return time.monotonic() >= self.since + DOOMED_S

    @property
    def is_late(self) -> bool:
        """Whether it has waited for its gate for as long as it may."""
        return time.monotonic() >= self.since + settings.CONFIG.producer.loading_s
