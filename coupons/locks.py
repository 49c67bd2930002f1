"""The Redis lock per coupon: it keeps two consumers from queueing on one database row.

It saves work and nothing else: the locked coupon row and the unique constraint decide
(architecture, decision 1). So a lock that cannot be had, or that expired, is counted and
the work goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import redis_lock
from django.conf import settings
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from couponsite import metrics

log = logging.getLogger(__name__)


@contextmanager
def coupon_locks(coupon_ids: Sequence[int]) -> Iterator[None]:
    """Hold the locks of these coupons, taken in ascending order so that no two consumers wait in a ring.

    Waits at most COUPON_LOCK_WAIT_S in all; without Redis, or past that wait, the row lock alone decides.
    """
    consumer = settings.CONFIG.consumer
    client = get_redis_connection("locks")
    deadline = time.monotonic() + consumer.lock_wait_s
    with ExitStack() as held, metrics.LOCK_WAIT.time():
        try:
            for coupon_id in sorted(set(coupon_ids)):
                # A fresh Lock each time: an instance that timed out is not reusable. Whole seconds
                # only: the library cuts 0.5 to 0, which means for ever.
                lock = redis_lock.Lock(client, f"{{coupon:{coupon_id}}}", expire=consumer.lock_expiry_s)
                wait_s = int(deadline - time.monotonic())
                blocking = {"timeout": wait_s} if wait_s >= 1 else {"blocking": False}
                if lock.acquire(**blocking):
                    held.callback(_release, lock)
                else:
                    metrics.LOCK_MISSES.labels(cause="busy").inc()
        except RedisError as error:
            metrics.LOCK_MISSES.labels(cause="redis_away").inc()
            log.warning("Redis lock not taken, the row lock alone decides: %s", error)
        locks = held.pop_all()
    with locks:
        yield


def _release(lock: redis_lock.Lock) -> None:
    """Runs after COMMIT: whatever goes wrong here, the coupons are issued."""
    try:
        lock.release()
    except redis_lock.NotAcquired:
        metrics.LOCK_MISSES.labels(cause="expired").inc()
    except RedisError as error:
        metrics.LOCK_MISSES.labels(cause="redis_away").inc()
        log.warning("Redis lock not released, it expires by itself: %s", error)
