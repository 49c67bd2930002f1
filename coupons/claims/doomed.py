"""Claims of partitions that are known to be dead: they are refused, and none of them waits for long.

They are screened with their batch, because the database knows better answers than to try again: already
yours, sold out, closed. Where that takes long (a busy database, a machine without a free core) they are told
to try again, which costs nothing. They reserve nothing, so nothing need be given back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from uuid import UUID

from coupons.claims import submitting
from coupons.claims.screening import Screened
from coupons.claims.waiting import Waiting


def late_among(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Those that have waited long enough and whose partition is dead. ``waiting``: the oldest first."""
    if not waiting or not waiting[0].is_late_if_doomed or not submitting.is_any_dead():
        return []
    late = [each for each in waiting if each.is_late_if_doomed]
    dead = submitting.dead_coupons(each.claim for each in late)
    return [each for each in late if each.claim.coupon_id in dead] if dead else []


class Doomed:
    """Those of the batch that is being screened. In the loop, as Gathering, which has one.

    ``refuse`` gets those that must not wait for the end of their screening.
    """

    def __init__(self, refuse: Callable[[Sequence[Waiting]], None]) -> None:
        self._refuse = refuse
        self._waiting: list[Waiting] = []
        self._told: set[UUID] = set()

    def begin(self, batch: Sequence[Waiting], dead: Collection[int]) -> None:
        """This batch is screened from now on. ``dead``: coupons, as its screening is told."""
        self._waiting = [each for each in batch if each.claim.coupon_id in dead] if dead else []
        self._told.clear()

    def refuse_late(self) -> None:
        late = {each for each in self._waiting if each.is_late_if_doomed}
        if late:
            self._waiting = [each for each in self._waiting if each not in late]
            self._told |= {each.claim.request_id for each in late}
            self._refuse([*late])

    def end(self, batch: list[Waiting]) -> list[Waiting]:
        """The batch is screened, or that failed: those that have no answer yet."""
        self._waiting = []
        if not self._told:
            return batch
        return [each for each in batch if each.claim.request_id not in self._told]

    def without_told(self, screened: Screened) -> Screened:
        if not self._told:
            return screened
        refusals = {key: told for key, told in screened.refusals.items() if key not in self._told}
        return replace(screened, refusals=refusals)
