"""Requests that wait in one worker for their limits are counted together, in one call to Redis.

Claims are counted with their batch (batching.py), which they wait for anyway; all others are gathered here.

An address or a user whose bucket is empty is refused here until its next token is due, without Redis: a
flood costs one call for each token, however large it is.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import gevent
from gevent.event import Event
from gevent.threadpool import ThreadPool

from coupons.gate import limits
from coupons.gate.admission import GateUnavailable
from coupons.gate.limits import Asking, Bucket, Verdict
from runtime import for_life, greenlets, metrics
from runtime.chunks import in_chunks
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

    def note(self, who: str | int | None, bucket: Bucket | None) -> None:
        if who is None or bucket is None or not bucket.wait_us:
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


class Counted(NamedTuple):
    """A claim whose tokens are taken with its batch.

    ``passes`` is told the verdict, once, in the loop, and says whether the claim goes on; else it answers.
    """

    asking: Asking
    passes: Callable[[Verdict | None], bool]


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
        for_life.spawn(self._run)

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

    def count(self, asking: Sequence[Asking]) -> list[Verdict | None]:
        """Take tokens for all of these in one call. The greenlet sleeps meanwhile: not in the hub."""
        known = [self.known(each) for each in asking]
        taken = iter(self._taken([each for each, refusal in zip(asking, known, strict=True) if not refusal]))
        return [refusal or next(taken) for refusal in known]

    def _run(self) -> None:
        while True:
            self._has_some.wait()
            gevent.sleep(_GATHER_S)
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            if not self._waiting:
                self._has_some.clear()
            verdicts = self._taken([asking for asking, _ in batch])
            self._loop.run_callback(_tell, batch, verdicts)

    def _taken(self, asking: Sequence[Asking]) -> list[Verdict | None]:
        verdicts: list[Verdict | None] = []
        for some in in_chunks(asking, _MOST_AT_ONCE):
            verdicts += self._asked(some)
        return verdicts

    def _asked(self, asking: Sequence[Asking]) -> Sequence[Verdict | None]:
        try:
            verdicts = greenlets.call_in(self._thread, lambda: limits.take(self._settings, asking))
        except GateUnavailable as error:
            # The gate's own behaviour decides: without Redis claims are slower, and the database refuses.
            log.debug("%d requests are not limited: %s", len(asking), error)
            metrics.UNLIMITED.inc(len(asking))
            return [None] * len(asking)
        for each, verdict in zip(asking, verdicts, strict=True):
            if verdict.wait_us:
                self._empty.note(each.address, verdict.address)
                self._empty.note(each.user_id, verdict.user)
        return verdicts


def _tell(batch: Sequence[tuple[Asking, Then]], verdicts: Sequence[Verdict | None]) -> None:
    """In the hub."""
    for (_, then), verdict in zip(batch, verdicts, strict=True):
        then(verdict)


_limiting: Limiting | None = None


def start(settings: LimitSettings) -> None:
    """From now on this process limits, if a limit is set. Call it in a worker, in the thread of its loop."""
    global _limiting
    _limiting = Limiting(settings) if settings.is_on else None


def current() -> Limiting | None:
    """What counts in this process; None where there are no limits."""
    return _limiting


def within(counted: Sequence[Counted | None]) -> list[bool]:
    """Which of a batch's claims go on: those within their limits, and those that are not counted."""
    limiting, some = _limiting, [each for each in counted if each is not None]
    if limiting is None or not some:
        return [True] * len(counted)
    verdicts = iter(limiting.count([each.asking for each in some]))
    return [each is None or each.passes(next(verdicts)) for each in counted]
