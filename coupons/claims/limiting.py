"""Requests that wait in one worker for their limits are counted together, in one call to Redis.

An address or a user whose bucket is empty is refused here until its next token is due, without Redis: a
flood costs one call for each token, however large it is.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from coupons.gate import limits
from coupons.gate.admission import GateUnavailable
from coupons.gate.limits import Asking, Bucket, Verdict
from runtime import greenlets, metrics
from runtime.config.limits import LimitSettings

log = logging.getLogger(__name__)

#: After the first request came, a call waits so long for others. Shorter, and a busy worker makes more calls;
#: longer, and each request is answered later.
_GATHER_S: Final = 0.001
#: Requests in one call: Redis answers nobody else for a millisecond or two. More, and gates wait longer.
_MOST_AT_ONCE: Final = 500
#: Addresses and users that are known to wait: a megabyte. The oldest are forgotten first, and are asked for
#: in Redis again.
MOST_EMPTY: Final = 10_000

Then = Callable[[Verdict | None], None]  #: None: it is not known, because Redis is away


class EmptyBuckets:
    """Who is known to wait, and until when. In the loop, or its hub."""

    def __init__(self) -> None:
        self._until: OrderedDict[str | int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def note(self, who: str | int, bucket: Bucket | None) -> None:
        if bucket is None or not bucket.wait_us:
            return
        self._until[who] = time.monotonic() + bucket.wait_us / 1e6
        if len(self._until) > MOST_EMPTY:
            self._until.popitem(last=False)

    def find(self, who: str | int | None) -> Bucket | None:
        """The bucket that is still empty. An address is a text, a user a number."""
        until = self._until.get(who) if who is not None else None
        if who is None or until is None:
            return None
        wait_s = until - time.monotonic()
        if wait_s <= 0:
            del self._until[who]
            return None
        return Bucket(wait_us=int(wait_s * 1e6) + 1, full_in_us=0)


class Limiting:
    """Belongs to the loop of the thread that makes it. All methods run in that loop, or its hub."""

    def __init__(self, settings: LimitSettings) -> None:
        self._settings = settings
        self._loop = gevent.get_hub().loop
        self._waiting: list[tuple[Asking, Then]] = []
        self._has_some = Event()
        self._empty = EmptyBuckets()
        # A thread of its own: those of claims may all wait for a database that hangs.
        self._thread = ThreadPool(1)
        greenlets.spawn_for_life(self._run)

    def known(self, asking: Asking) -> Verdict | None:
        """The refusal, if it is known without asking Redis."""
        address, user = self._empty.find(asking.address), self._empty.find(asking.user_id)
        return Verdict(address, user, is_remembered=True) if address or user else None

    def take(self, asking: Asking, then: Then) -> None:
        """Have tokens taken. ``then`` is called once: now, or in the hub. It must not wait or raise."""
        if (refusal := self.known(asking)) is not None:
            then(refusal)
            return
        self._waiting.append((asking, then))
        self._has_some.set()

    def _run(self) -> None:
        while True:
            self._has_some.wait()
            gevent.sleep(_GATHER_S)
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            if not self._waiting:
                self._has_some.clear()
            verdicts = self._verdicts([asking for asking, _ in batch])
            self._loop.run_callback(self._tell, batch, verdicts)

    def _verdicts(self, asking: Sequence[Asking]) -> Sequence[Verdict | None]:
        try:
            return greenlets.call_in(self._thread, lambda: limits.take(self._settings, asking))
        except GateUnavailable as error:
            # The gate's own behaviour decides: without Redis claims are slower, and the database refuses.
            log.debug("%d requests are not limited: %s", len(asking), error)
            metrics.UNLIMITED.inc(len(asking))
            return [None] * len(asking)

    def _tell(self, batch: Sequence[tuple[Asking, Then]], verdicts: Sequence[Verdict | None]) -> None:
        for (asking, then), verdict in zip(batch, verdicts, strict=True):
            if verdict is not None:
                self._empty.note(asking.address, verdict.address)
                if asking.user_id is not None:
                    self._empty.note(asking.user_id, verdict.user)
            then(verdict)
