"""Watches what is committed while a consumer works: the measure of issuing, from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dev.bench import database

_LOOK_EVERY_S: Final = 0.05
_STALLED_S: Final = 60.0


@dataclass(slots=True)
class Watch:
    """Coupons issued and committed over time, from one coupon on, looked at 20 times a second.

    A look reads the coupons' own rows without a lock: a fraction of a millisecond.
    """

    first_coupon_id: int
    issued_before: int = 0  #: these do not count
    samples: list[tuple[float, int]] = field(default_factory=list)  #: epoch seconds, issued until then

    def until(self, is_over: Callable[[int], bool]) -> None:
        """Raises RuntimeError if nothing more is issued for a minute and it is not over."""
        while True:
            issued, now = database.issued(self.first_coupon_id) - self.issued_before, time.time()
            if not self.samples or issued > self.samples[-1][1]:
                self.samples.append((now, issued))
            if is_over(issued):
                return
            if now - self.samples[-1][0] > _STALLED_S:
                raise RuntimeError(f"only {issued} were issued, and no more for {_STALLED_S:.0f} s")
            time.sleep(_LOOK_EVERY_S)

    @property
    def issued_at(self) -> float:
        """When the last of them was there, epoch seconds."""
        return self.samples[-1][0]

    @property
    def per_s(self) -> float:
        """From the first commit that was seen to the last.

        So neither the start of the process counts nor the joining of the group, and the events of
        the first look do not either. Raises RuntimeError if all came at once.
        """
        began, first = next(sample for sample in self.samples if sample[1] > 0)
        ended, last = self.samples[-1]
        if ended <= began:
            raise RuntimeError(f"all {last} were issued between two looks: the backlog is too small")
        return (last - first) / (ended - began)
