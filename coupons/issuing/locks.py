"""The Redis lock per coupon: it keeps two consumers from queueing on one database row.

It saves work and nothing else: the locked coupon row and the unique constraint decide
(docs/decisions/README.md, decision 1). So a lock that cannot be had, or that expired, is counted and
the work goes on.

A batch may need hundreds. They are asked for and given back in one call each: the keys, ids and
scripts are python-redis-lock's, so its own locks exclude ours and are excluded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress

import redis_lock
from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from runtime import metrics
from runtime.redis_roles import leave_if_demoted

log = logging.getLogger(__name__)


@contextmanager
def coupon_locks(coupon_ids: Sequence[int]) -> Iterator[None]:
    """Hold the locks of these coupons, taken in ascending order so that no two consumers wait in a ring.

    Waits at most COUPON_LOCK_WAIT_S in all; without Redis, or past that wait, the row lock alone decides.
    """
    client = get_redis_connection("locks")
    held: list[redis_lock.Lock] = []
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


def _acquire(client: Redis, coupon_ids: Sequence[int], held: list[redis_lock.Lock]) -> None:
    """Take all at once; where one is busy, give back those behind it and go on after its turn.

    Whoever waits holds lower coupons only: no two can wait for each other. Adds what is taken to
    ``held``, also before it raises RedisError.
    """
    deadline = time.monotonic() + settings.CONFIG.consumer.lock_wait_s
    missing = list(coupon_ids)
    while missing:
        locks = [_lock(client, coupon_id) for coupon_id in missing]
        taken = _try(client, locks)
        # Whole seconds only: the library cuts 0.5 to 0, which means for ever.
        wait_s = round(deadline - time.monotonic())
        if all(taken) or wait_s < 1:
            held += compress(locks, taken)
            metrics.LOCK_MISSES.labels(cause="busy").inc(taken.count(False))
            return
        busy = taken.index(False)
        held += locks[:busy]
        _release(client, list(compress(locks[busy:], taken[busy:])))
        if locks[busy].acquire(timeout=wait_s):
            held.append(locks[busy])
        else:
            metrics.LOCK_MISSES.labels(cause="busy").inc()
        missing = missing[busy + 1 :]


def _lock(client: Redis, coupon_id: int) -> redis_lock.Lock:
    # A fresh Lock each time: an instance that timed out is not reusable.
    return redis_lock.Lock(client, f"{{coupon:{coupon_id}}}", expire=settings.CONFIG.consumer.lock_expiry_s)


def _try(client: Redis, locks: Sequence[redis_lock.Lock]) -> list[bool]:
    """Whether each was free, and is ours now. What Lock.acquire() does, for all at once."""
    pipeline = client.pipeline(transaction=False)
    for lock in locks:
        pipeline.set(lock._name, lock.id, nx=True, ex=lock._expire)
    return list(map(bool, pipeline.execute()))


def _release(client: Redis, locks: Sequence[redis_lock.Lock]) -> None:
    """What Lock.release() does, for all at once; after COMMIT, so that a failure is no error any more."""
    if not locks:
        return
    pipeline = client.pipeline(transaction=False)
    for lock in locks:
        # A subclass would be neater, but the scripts belong to the first class that is used, for all.
        lock.unlock_script(
            keys=(lock._name, lock._signal), args=(lock.id, lock._signal_expire), client=pipeline
        )
    try:
        expired = sum(map(bool, pipeline.execute()))
    except RedisError as error:
        leave_if_demoted(client, error)
        metrics.LOCK_MISSES.labels(cause="redis_away").inc()
        log.warning("Redis locks not released, they expire by themselves: %s", error)
        return
    metrics.LOCK_MISSES.labels(cause="expired").inc(expired)
