"""The Redis lock per coupon: it keeps two consumers from queueing on one database row.

The lock saves work and nothing else: the locked coupon row and the unique constraint decide
(docs/decisions/README.md, decision 1). So a lock that is busy or has expired is counted, and the work
goes on.

A batch may need hundreds of locks, and one call of the library for each would take as long as the
transaction. So one pipeline takes them and one gives them back, with python-redis-lock's keys, ids and
script: another program that locks a coupon with that library excludes us, and we exclude it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Final

import redis_lock
from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from runtime import metrics
from runtime.redis_roles import leave_if_demoted

log = logging.getLogger(__name__)

#: A released lock signals a waiting consumer for so long; the library's default.
_SIGNAL_LASTS_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class _CouponLock:
    """A coupon's lock and its keys in the library.

    Not a subclass of the library's: its scripts are registered once, by the first class that is used.
    """

    lock: redis_lock.Lock
    key: str
    signal: str

    @classmethod
    def of(cls, client: Redis, coupon_id: int) -> _CouponLock:
        """A new instance each time, because one that timed out cannot be used again."""
        name = f"{{coupon:{coupon_id}}}"
        lock = redis_lock.Lock(client, name, expire=settings.CONFIG.consumer.lock_expiry_s)
        return cls(lock, f"lock:{name}", f"lock-signal:{name}")


@contextmanager
def coupon_locks(coupon_ids: Sequence[int]) -> Iterator[None]:
    """Hold the locks of these coupons, taken in ascending order so that no two consumers wait in a ring.

    Waits at most COUPON_LOCK_WAIT_S in all. Without Redis, or after that wait, the row lock alone decides.
    """
    client = get_redis_connection("locks")
    held: list[_CouponLock] = []
    with metrics.LOCK_WAIT.time():
        try:
            _acquire(client, sorted(set(coupon_ids)), held)
        except RedisError as error:
            leave_if_demoted(client, error)
            metrics.LOCK_MISSES.labels(cause="redis_away").inc()
            log.warning("Redis lock not taken, the row lock alone decides: %s", error)
    try:
        yield
    finally:
        _release(client, held)


def _acquire(client: Redis, coupon_ids: Sequence[int], held: list[_CouponLock]) -> None:
    """Take all locks at once; if one is busy, give back those of higher coupons, wait for it, and go on.

    A consumer that waits holds locks of lower coupons only, so no two wait for each other. Adds each lock to
    ``held`` as it is taken, so that ``held`` is complete if this raises RedisError.
    """
    deadline = time.monotonic() + settings.CONFIG.consumer.lock_wait_s
    missing = list(coupon_ids)
    while missing:
        locks = [_CouponLock.of(client, coupon_id) for coupon_id in missing]
        taken = _try(client, locks)
        # Whole seconds only: the library cuts 0.5 to 0, and 0 waits for ever.
        wait_s = round(deadline - time.monotonic())
        if all(taken) or wait_s < 1:
            held += compress(locks, taken)
            metrics.LOCK_MISSES.labels(cause="busy").inc(taken.count(False))
            return
        busy = taken.index(False)
        held += locks[:busy]
        _release(client, list(compress(locks[busy:], taken[busy:])))
        if locks[busy].lock.acquire(timeout=wait_s):
            held.append(locks[busy])
        else:
            metrics.LOCK_MISSES.labels(cause="busy").inc()
        missing = missing[busy + 1 :]


def _try(client: Redis, locks: Sequence[_CouponLock]) -> list[bool]:
    """Take each lock that is free; returns which are ours now. As Lock.acquire(), for all at once."""
    pipeline = client.pipeline(transaction=False)
    for each in locks:
        pipeline.set(each.key, each.lock.id, nx=True, ex=settings.CONFIG.consumer.lock_expiry_s)
    return list(map(bool, pipeline.execute()))


def _release(client: Redis, locks: Sequence[_CouponLock]) -> None:
    """Release as Lock.release() does, for all at once. COMMIT is over, so a failure is only logged."""
    if not locks:
        return
    pipeline = client.pipeline(transaction=False)
    for each in locks:
        each.lock.unlock_script(
            keys=(each.key, each.signal), args=(each.lock.id, _SIGNAL_LASTS_MS), client=pipeline
        )
    try:
        expired = sum(map(bool, pipeline.execute()))
    except RedisError as error:
        leave_if_demoted(client, error)
        metrics.LOCK_MISSES.labels(cause="redis_away").inc()
        log.warning("Redis locks not released, they expire by themselves: %s", error)
        return
    metrics.LOCK_MISSES.labels(cause="expired").inc(expired)
