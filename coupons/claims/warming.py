"""Cold claims wait here while their gates are loaded, beside the batches.

No cold claim waits for a partition that is known to be dead, nor for longer than its budget allows: the
reading goes on without it, so that whoever tries again finds the gate loaded.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

import gevent
from gevent.event import Event

from coupons.claims import screening, submitting
from coupons.claims.waiting import Waiting
from coupons.eventlog.producer import event_producer
from runtime import for_life, greenlets

#: One reading of the log, which takes a second where much is undecided, serves the cold coupons that are
#: known when it begins; after a flush a crowd meets hundreds of them within a few batches. So the reading
#: begins so long after the first cold coupon. Shorter, and each coupon gets a reading of its own; longer, and
#: the first claim on a new coupon waits for no reason.
_GATHER_S: Final = 0.02
#: Where several coupons are cold, the reading begins when no other one came for so long, the time of a few
#: batches.
_QUIET_S: Final = 0.1
#: A reading begins after this at the latest, even if cold coupons come all the time.
_GATHER_AT_MOST_S: Final = 0.5
#: While a reading is on, we look so often for claims that must wait no longer. Longer, and they are answered
#: later by as much; shorter, and a crowd that waits keeps the loop busy.
_LOOK_EVERY_S: Final = 0.1
#: Looks may deceive: so often the gate of a coupon whose partition looks dead is loaded all the same, for
#: nobody who waits, and nobody waits for it. Shorter, and a thread asks dead leaders all the time; longer,
#: and a cold coupon whose partition only looks dead is refused for longer.
TRY_DEAD_EVERY_S: Final = 30.0


class Warming:
    """Belongs to the loop of the thread that makes it, and so do all calls, of and by it.

    ``go_on`` gets the claims whose gates are loaded, ``refuse`` those that wait in vain, ``fail`` those whose
    loading raised, with the error.
    """

    def __init__(
        self,
        *,
        go_on: Callable[[Sequence[Waiting]], None],
        refuse: Callable[[Sequence[Waiting]], None],
        fail: Callable[[Sequence[Waiting], Exception], None],
    ) -> None:
        self._hand_on, self._refuse, self._fail = go_on, refuse, fail
        self._waiting: list[Waiting] = []
        self._being_loaded: list[Waiting] = []
        self._try_dead_at = time.monotonic() + TRY_DEAD_EVERY_S
        self._is_wanted = Event()
        for_life.spawn(self._run)

    def take(self, cold: Sequence[Waiting]) -> None:
        """Let these claims wait for their gates, or refuse them at once."""
        # A gate that was loaded and lost again, while Redis is up: nobody is admitted without a gate then.
        refused = [each for each in cold if each.was_loaded and each.is_late] + self._dead(cold)
        self._waiting += cold
        self._leave(refused)
        if self._waiting:
            self._is_wanted.set()

    def _run(self) -> None:
        """One reading serves all that are known then."""
        while True:
            self._is_wanted.wait()
            self._let_gather()
            self._is_wanted.clear()
            self._being_loaded, self._waiting = self._waiting, []
            self._look_after(gevent.spawn(self._load))

    def _let_gather(self) -> None:
        until = time.monotonic() + _GATHER_AT_MOST_S
        gevent.sleep(_GATHER_S)
        before = 1
        while before < (count := len(_coupons(self._waiting))) and time.monotonic() < until:
            before = count
            gevent.sleep(_QUIET_S)

    def _look_after(self, loading: gevent.Greenlet) -> None:
        """Until it is over, refuse claims that must not wait for its end."""
        while not loading.ready():
            loading.join(_LOOK_EVERY_S)
            waiting = (*self._being_loaded, *self._waiting)
            self._leave([*(each for each in waiting if each.is_late), *self._dead(waiting)])

    def _dead(self, waiting: Collection[Waiting]) -> list[Waiting]:
        """Those whose partition is known to be dead; one of their coupons may be tried all the same."""
        producer = event_producer()
        dead = {coupon_id for coupon_id in _coupons(waiting) if not producer.takes(coupon_id)}
        if not dead:
            return []
        if not producer.is_down and time.monotonic() >= self._try_dead_at:
            self._try_dead_at = time.monotonic() + TRY_DEAD_EVERY_S
            # Any of them: one partition may be dead while another one only looks so.
            one = random.choice(sorted(dead))
            gevent.spawn(greenlets.beside, submitting.warm_up_although_dead, one)
        return [each for each in waiting if each.claim.coupon_id in dead]

    def _leave(self, refused: Sequence[Waiting]) -> None:
        if not refused:
            return
        gone = {id(each): each for each in refused}
        self._being_loaded = [each for each in self._being_loaded if id(each) not in gone]
        self._waiting = [each for each in self._waiting if id(each) not in gone]
        self._refuse([*gone.values()])

    def _load(self) -> None:
        coupon_ids = _coupons(self._being_loaded)
        try:
            is_warm = not coupon_ids or greenlets.apart(submitting.warm_up, coupon_ids)
        except Exception as error:
            self._fail(self._loaded(), error)
            if not isinstance(error, screening.DATABASE_AWAY):
                raise  # a bug: gevent prints it
            return
        if is_warm:
            self._hand_on(self._loaded())
        else:
            self._leave(self._being_loaded)

    def _loaded(self) -> list[Waiting]:
        loaded, self._being_loaded = self._being_loaded, []
        return loaded


def _coupons(waiting: Collection[Waiting]) -> set[int]:
    return {each.claim.coupon_id for each in waiting}
