"""The newest snapshots. One process of the system makes each, once a second; the others take it from Redis.

While nobody watches, nothing is made. Who has the newest one waits for the next, which all of a process get
at once: a hundred who ask one by one, each when the worker is at something else, cost it more. Who has none
is given what there is, however old, and a new one is made meanwhile.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Final

from django.db import Error as DatabaseLayerError
from django.db import connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.event_page import snapshot
from coupons.models import Coupon
from runtime import database_roles, greenlets

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
#: For an event's first snapshot. Shorter, and a slow database shows an empty page; longer, and one that hangs
#: keeps the threads of pages.
FIRST_S: Final = 5.0
#: Snapshots in a process; beyond, the one that was made first is dropped. Keys come from staff alone.
_MOST: Final = 100
_KEPT_MS: Final = 60_000  #: in Redis, for processes that lose the race to make the next one
#: So long one process has the right to make it: longer than a slow database takes, and after a crash nobody
#: makes it for so long.
_LEASE_MS: Final = 3_000
#: Who waits for the next snapshot gets the one that there is after so long. Shorter, and pages of a busy
#: system ask for nothing; longer, and while the database hangs a worker that stops waits for them.
HELD_S: Final = 2.5
#: Another process is making the next snapshot: so long until it is looked for again.
_AGAIN_S: Final = 0.2
#: A snapshot this old is shown as such by the page, and no error.
_AWAY: Final = b""
_AT: Final = re.compile(rb'\{"at":([0-9]+)[,}]')


@dataclass(frozen=True, slots=True)
class _Waiting:
    than: int  #: the ``at`` of what this page has
    until: float  #: by the monotonic clock
    tell: Callable[[bytes], None]


@dataclass(slots=True)
class _Entry:
    body: bytes = _AWAY
    made_at: float = float("-inf")
    is_being_made: bool = False
    is_failing: bool = False  #: the last one could not be made
    waiting: list[_Waiting] = field(default_factory=list)  #: who has waited longest comes first
    is_due_later: bool = False  #: whether somebody will look when the next one is due
    is_looked_after: bool = False  #: whether somebody will tell those who waited too long
    wake: Callable[[], None] | None = None  #: has those who wait told, from any thread

    @property
    def at(self) -> float:
        """When it was made, in ms since the epoch; for ever if there will be none. 0: there is none yet."""
        found = _AT.match(self.body)
        return int(found[1]) if found else float("inf") if self.body else 0


class Board:
    """One per process. ``newest`` and ``when_newer`` are called in a worker's hub; a thread makes them."""

    def __init__(self, make: Callable[[int], bytes] = snapshot.of) -> None:
        self._make = make
        self._entries: dict[int, _Entry] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="event-page")

    def newest(self, key: int) -> bytes:
        """The newest snapshot, at once; empty if none was made yet. Has the next one made if it is time."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= _MOST:
                self._entries.pop(next(iter(self._entries)))
            entry = self._entries[key] = _Entry()
        if time.monotonic() - entry.made_at >= EVERY_S:
            self._have_made(key, entry)
        return entry.body

    def when_newer(self, key: int, *, than: int, tell: Callable[[bytes], None]) -> None:
        """Have ``tell`` called with a snapshot that was made after ``than`` (its ``at``), in the hub.

        Now, if there is one; else when the next one was made. If none comes it is what there is: the same,
        or empty.
        """
        self.newest(key)
        entry = self._entries[key]
        if entry.at > than:
            tell(entry.body)
            return
        if entry.wake is None:
            entry.wake = greenlets.in_hub_later(partial(self._made, key, entry))
        entry.waiting.append(_Waiting(than, time.monotonic() + HELD_S, tell))
        self._look_after(entry)
        if not entry.is_being_made:
            self._look_later(key, entry, entry.made_at + EVERY_S - time.monotonic())

    def _made(self, key: int, entry: _Entry) -> None:
        """Tell who waited for this one. Where another process makes the next, it is looked for again."""
        waiting, entry.waiting = entry.waiting, []
        for each in waiting:
            if entry.at > each.than or entry.is_failing:
                _tell(each, entry.body)
            else:
                entry.waiting.append(each)
        if entry.waiting:
            self._look_later(key, entry, _AGAIN_S)

    def _look_after(self, entry: _Entry) -> None:
        if entry.waiting and not entry.is_looked_after:
            entry.is_looked_after = True
            left_s = entry.waiting[0].until - time.monotonic()
            greenlets.later(max(0.0, left_s), partial(self._give_up, entry))

    def _give_up(self, entry: _Entry) -> None:
        """Tell what there is to those who waited too long."""
        entry.is_looked_after = False
        now = time.monotonic()
        over = list(takewhile(lambda each: each.until <= now, entry.waiting))
        entry.waiting = entry.waiting[len(over) :]
        for each in over:
            _tell(each, entry.body)
        self._look_after(entry)

    def _look_later(self, key: int, entry: _Entry, seconds: float) -> None:
        if not entry.is_due_later:
            entry.is_due_later = True
            greenlets.later(max(0.0, seconds), partial(self._due, key, entry))

    def _due(self, key: int, entry: _Entry) -> None:
        entry.is_due_later = False
        if entry.waiting:
            self._have_made(key, entry)

    def _have_made(self, key: int, entry: _Entry) -> None:
        if not entry.is_being_made:
            entry.is_being_made = True
            self._thread.submit(self._refresh, key, entry)

    def now(self, key: int) -> bytes:
        """The newest snapshot; waits for the first one, not for ever: empty if it does not come.

        Raises as ``snapshot.of``. Never in the loop.
        """
        if body := self.newest(key):
            return body
        entry = self._entries[key]  # in the thread's turn, after the one that ``newest`` has begun
        first = self._thread.submit(lambda: entry.body or self._shared(key))
        try:
            return first.result(FIRST_S)
        except TimeoutError:
            first.cancel()
            return _AWAY

    def _refresh(self, key: int, entry: _Entry) -> None:
        is_failing = True
        try:
            with database_roles.watched():
                entry.body = self._shared(key)
            is_failing = False
        except Coupon.DoesNotExist:
            entry.body = b'{"gone":true}'
        except DatabaseLayerError as error:
            log.info("an event's snapshot waits for the database: %s", error)
            connection.close()
        except Exception:
            log.exception("an event's snapshot cannot be made")
        finally:
            entry.made_at, entry.is_failing = time.monotonic(), is_failing
            entry.is_being_made = False
            if entry.wake is not None:
                entry.wake()

    def _shared(self, key: int) -> bytes:
        """Another process's snapshot if it is fresh, or if it is about to make the next one; else our own."""
        redis = get_redis_connection("default")
        name = f"coupon-event-page:{key}"
        try:
            pipeline = redis.pipeline(transaction=False)
            pipeline.get(name)
            pipeline.pttl(name)
            body, left_ms = pipeline.execute()
            is_fresh = body is not None and left_ms > _KEPT_MS - EVERY_S * 1000
            if is_fresh or (body is not None and not redis.set(f"{name}:turn", 1, nx=True, px=_LEASE_MS)):
                return bytes(body)
        except RedisError:
            return self._make(key)
        made = self._make(key)
        try:
            pipeline = redis.pipeline(transaction=False)
            pipeline.set(name, made, px=_KEPT_MS)
            pipeline.delete(f"{name}:turn")
            pipeline.execute()
        except RedisError as error:
            log.debug("an event's snapshot is not shared: %s", error)
        return made


def _tell(waiting: _Waiting, body: bytes) -> None:
    """Among others that are told with it: an error is this one's alone."""
    try:
        waiting.tell(body)
    except Exception:
        log.exception("a page cannot be told its event's snapshot")


board: Final = Board()
