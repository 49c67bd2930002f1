"""Fill empty gates from the truth: the coupons' rows and the undecided events of the log.

Redis may have been flushed, restarted, replaced, or never have seen the coupon. All gates that are unknown
are filled from one reading: the log is everybody's, and reading it is what takes long. The log is read
first and the database second, so that a request decided in between is seen as decided.

Reservations that stand in an empty gate and are not decided are kept, with or without an event: their
claims may be on their way to the log, and a leaked one is told its end only while it is known.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

import redis_lock
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from coupons import coupon_cache, selectors
from coupons.claim import Claim, Holding
from coupons.coupon_cache import CachedCoupon
from coupons.eventlog import backlog
from coupons.eventlog.backlog import LogUnavailable
from coupons.eventlog.producer import event_producer
from coupons.gate.admission import (
    Loaded,
    gate,
)
from runtime import metrics

__all__ = ["LogUnavailable", "load", "load_all"]

log = logging.getLogger(__name__)

#: A claim waits for its own reading, and perhaps for one that began before it came: 16 s at worst.
#: Shorter, and a large backlog cannot be read; longer, and clients hang up first.
LOG_TIMEOUT_S: Final = 8.0
_IN_AT_ONCE: Final = 1000
#: Every worker of every machine meets the same empty gates. Reading a large backlog takes a second of a core:
#: all at once, they would slow down each other and every claim that needs no loading.
OTHERS_TAKE_S: Final = 2.0
TURN: Final = "coupon-gates:loading"  #: the lock that all workers share
_ASK_AGAIN_AFTER_S: Final = 0.05
_TURN_EXPIRES_S: Final = 10
_one_at_a_time = threading.Lock()


def load(coupon: CachedCoupon) -> CachedCoupon:
    """Load the coupon's gate. Returns the coupon as just read. Raises as ``load_all``."""
    load_all([coupon.coupon_id])
    return coupon_cache.cached_coupon(coupon.coupon_id) or coupon


def load_all(coupon_ids: Collection[int]) -> None:
    """Load those of the gates that are not loaded.

    Raises LogUnavailable when the log cannot be read (without it, accepted requests would be
    forgotten and their slots given away), GateUnavailable when Redis is away.
    """
    if not coupon_ids:
        return
    # Threads of a process that met the same empty gates wait for one reading, and no longer than it lasts.
    if event_producer().is_down or not _one_at_a_time.acquire(timeout=LOG_TIMEOUT_S):
        raise LogUnavailable("the broker does not answer")
    try:
        with _turn(), _uncollected():
            _load_all(coupon_ids)
    finally:
        _one_at_a_time.release()


@contextmanager
def _turn() -> Iterator[None]:
    """One worker after the other; whoever has waited long enough reads as well. Raises GateUnavailable."""
    lock = redis_lock.Lock(get_redis_connection("locks"), TURN, expire=_TURN_EXPIRES_S)
    until = time.monotonic() + OTHERS_TAKE_S
    while not (is_held := gate.guarded(lambda: lock.acquire(blocking=False))) and time.monotonic() < until:
        time.sleep(_ASK_AGAIN_AFTER_S)
    try:
        yield
    finally:
        if is_held:
            with suppress(redis_lock.NotAcquired, RedisError):  # it expires by itself
                lock.release()


@contextmanager
def _uncollected() -> Iterator[None]:
    """A collection amid a hundred thousand new objects stops every claim of this worker for 0.1 s."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _load_all(coupon_ids: Collection[int]) -> None:
    standing = _standing(coupon_ids)
    if not standing:
        return
    undecided = _undecided(standing)
    # What was read tells of other coupons too: who meets their gates next needs no reading.
    standing |= _standing(undecided.keys() - standing.keys())
    fresh = coupon_cache.cached_coupons(standing, fresh=True)
    # The log comes first: where a user has two requests, the reservation is of the first.
    holding_slots = _still_undecided(
        claim
        for coupon_id, coupon in fresh.items()
        for claim in [
            *undecided[coupon_id],
            *(standing[coupon_id][1] if standing[coupon_id][0] == coupon.epoch else ()),
        ]
    )
    loaded = gate.load_each([(coupon, holding_slots[coupon_id]) for coupon_id, coupon in fresh.items()])
    metrics.GATE_LOADS.labels(result="loaded").inc(sum(loaded))
    metrics.GATE_LOADS.labels(result="was_loaded").inc(len(loaded) - sum(loaded))
    count = sum(map(len, holding_slots.values()))
    log.info("%d gates loaded, of coupons %s: %d requests under way", sum(loaded), _some(fresh), count)


def _standing(coupon_ids: Collection[int]) -> dict[int, tuple[str, Sequence[Claim]]]:
    """Of those gates that are not loaded: the coupon's epoch, and the reservations they hold all the same."""
    coupons = list(coupon_cache.cached_coupons(coupon_ids, fresh=True).values())
    return {
        coupon.coupon_id: (coupon.epoch, found)
        for coupon, found in zip(coupons, gate.standing_each(coupons), strict=True)
        if not isinstance(found, Loaded)
    }


def _undecided(coupon_ids: Collection[int]) -> Mapping[int, list[Claim]]:
    """Events at or beyond the position, in log order, by coupon; where one is asked for, its own alone."""
    only = next(iter(coupon_ids)) if len(coupon_ids) == 1 else None
    try:
        requests = backlog.read(timeout_s=LOG_TIMEOUT_S, coupon_id=only).requests
    except LogUnavailable:
        metrics.GATE_LOADS.labels(result="log_unavailable").inc()
        event_producer().suspect()
        raise
    claims: defaultdict[int, list[Claim]] = defaultdict(list)
    for event in (request.event for request in requests):
        claims[event.coupon_id].append(event.claim)
    return claims


def _still_undecided(claims: Iterable[Claim]) -> Mapping[int, list[Claim]]:
    """By coupon; without those decided since, and those whose user has the coupon (they will be rejected)."""
    wanted = list(claims)
    over: set[UUID] = set()
    holders: set[Holding] = set()
    for start in range(0, len(wanted), _IN_AT_ONCE):
        some = wanted[start : start + _IN_AT_ONCE]
        over |= selectors.with_outcome([claim.request_id for claim in some])
        holders |= selectors.holders({claim.holding for claim in some})
    undecided: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in wanted:
        if claim.request_id not in over and claim.holding not in holders:
            undecided[claim.coupon_id].append(claim)
    return undecided


def _some(coupon_ids: Collection[int]) -> str:
    """For the log: a thousand numbers tell no more than ten."""
    return ", ".join(map(str, sorted(coupon_ids)[:10])) + (" and more" if len(coupon_ids) > 10 else "")
