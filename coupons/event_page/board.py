"""The newest snapshots. One process of the system makes each, once a second; the others take it from Redis.

While nobody watches, nothing is made. A snapshot that is older than a second is given all the same, and a new
one is made meanwhile, so that nobody waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from django.db import Error as DatabaseLayerError
from django.db import connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons.event_page import snapshot
from coupons.models import Coupon
from runtime import database_roles

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
#: A snapshot this old is shown as such by the page, and no error.
_AWAY: Final = b""


@dataclass(slots=True)
class _Entry:
    body: bytes = _AWAY
    made_at: float = float("-inf")
    is_being_made: bool = False


class Board:
    """One per process. ``newest`` is called in a worker's hub; making runs in a thread of its own."""

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
        if not entry.is_being_made and time.monotonic() - entry.made_at >= EVERY_S:
            entry.is_being_made = True
            self._thread.submit(self._refresh, key, entry)
        return entry.body

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
        try:
            with database_roles.watched():
                entry.body = self._shared(key)
        except Coupon.DoesNotExist:
            entry.body = b'{"gone":true}'
        except DatabaseLayerError as error:
            log.info("an event's snapshot waits for the database: %s", error)
            connection.close()
        except Exception:
            log.exception("an event's snapshot cannot be made")
        finally:
            entry.made_at = time.monotonic()
            entry.is_being_made = False

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


board: Final = Board()
