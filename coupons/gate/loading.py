"""Fill empty gates from the truth: the coupons' rows and the undecided events of the log.

Redis may have been flushed, restarted, replaced, or never have seen the coupon. One reading of the log
fills all gates that are unknown, because the log holds the events of all coupons and reading it takes
longest. The log is read first and the database second, so that a request decided in between is seen as
decided.

Undecided reservations in an empty gate are kept, with or without an event: their claims may be on their
way to the log, and a leaked one gets its outcome only while its reservation stands.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from coupons.eventlog.backlog import Backlog, LogUnavailable
from coupons.eventlog.events import partition_key, partition_of
from coupons.eventlog.producer import event_producer
from coupons.gate.admission import (
    Loaded,
    gate,
)
from runtime import metrics
from runtime.chunks import in_chunks
from runtime.operator_language import marked

__all__ = ["LogUnavailable", "load", "load_all", "load_although_dead"]

log = logging.getLogger(__name__)

#: A reading lasts no longer. It goes on when the claims that it is for are refused (``loading_s`` in
#: runtime/config), so that the next ones find their gates loaded. Shorter, and a large backlog cannot be
#: read; longer, and a reading that comes to nothing keeps other gates from being loaded.
LOG_TIMEOUT_S: Final = 8.0
#: The reading for one coupon whose partition looks dead. Shorter, and a living leader that is busy is not
#: heard; longer, and a leader that is dead keeps a thread for nothing.
_ALTHOUGH_DEAD_S: Final = 3.0
_IN_AT_ONCE: Final = 1000  #: ids in one IN list: a bound on the statement's size
#: Every worker of every machine meets the same empty gates, and reading a large backlog takes a second of a
#: core. So a worker waits so long for its turn, and then reads beside the others. Shorter, and all read at
#: once, which slows down every claim; longer, and a worker whose predecessor died keeps its claims waiting.
OTHERS_TAKE_S: Final = 2.0
TURN: Final = "{coupon-gates:loading}"  #: a hash tag: the lock has two keys, which a cluster keeps together
#: Shorter, and waiting workers keep Redis busy; longer, and a turn that is free is taken later.
_ASK_AGAIN_AFTER_S: Final = 0.05
#: A worker that died is out of the others' way after so long: longer than a reading may take (8 s).
_TURN_EXPIRES_S: Final = 10
one_at_a_time = threading.Lock()


def load(coupon: CachedCoupon) -> CachedCoupon:
    """Load the coupon's gate. Returns the coupon as just read. Raises what ``load_all`` raises."""
    load_all([coupon.coupon_id])
    return coupon_cache.cached_coupon(coupon.coupon_id) or coupon


def load_all(coupon_ids: Collection[int], *, within_s: float = LOG_TIMEOUT_S) -> set[int]:
    """Load the gates that are not loaded. Reading the log may take ``within_s``: never in the loop.

    Gates of partitions that look dead are left out: to read such a partition takes seconds, for which the
    other coupons would wait too, and brings nothing. Returns the coupons that were left out.

    Raises LogUnavailable when the log cannot be read (a gate loaded without the log would forget
    accepted requests and give their slots away), or when all these partitions look dead; GateUnavailable
    when Redis is away.
    """
    if not coupon_ids:
        return set()
    living = _of_living_partitions(coupon_ids)
    # Threads of this process that met the same empty gates wait for one reading, no longer than it may take.
    if not living or not one_at_a_time.acquire(timeout=within_s):
        raise LogUnavailable(marked("the broker does not answer"))
    try:
        with _turn(), _uncollected():
            unread = _load_all(living, lambda standing: _read(standing, within_s))
            return (set(coupon_ids) - living) | unread
    finally:
        one_at_a_time.release()


def load_although_dead(coupon_id: int) -> None:
    """Load the gate of a coupon whose partition looks dead: looks may deceive.

    For nobody who waits: nobody waits for this either, because it takes no turn and leaves out all other dead
    partitions. Takes some seconds: never in the loop. Raises what ``load_all`` raises.
    """
    if event_producer().is_down:
        raise LogUnavailable(marked("the broker does not answer"))
    _load_all({coupon_id}, lambda standing: _read_although_dead(coupon_id))


def _of_living_partitions(coupon_ids: Collection[int]) -> set[int]:
    """The coupons whose partition does not look dead."""
    producer = event_producer()
    if producer.is_down:
        return set()
    dead, partitions = producer.unpromising_partitions, producer.partitions
    if not dead or not partitions:
        return set(coupon_ids)
    return {each for each in coupon_ids if partition_of(partition_key(each), partitions) not in dead}


@contextmanager
def _turn() -> Iterator[None]:
    """Take the turn to load, or go on without it after OTHERS_TAKE_S. Raises GateUnavailable."""
    lock = redis_lock.Lock(get_redis_connection("locks"), TURN, expire=_TURN_EXPIRES_S)
    until = time.monotonic() + OTHERS_TAKE_S
    while not (is_held := gate.guarded(lambda: lock.acquire(blocking=False))) and time.monotonic() < until:
        time.sleep(_ASK_AGAIN_AFTER_S)
    try:
        yield
    finally:
        if is_held:
            with suppress(redis_lock.NotAcquired, RedisError):  # the turn expires by itself
                lock.release()


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: amid 100,000 new objects it stops the whole worker for 0.1 s."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _load_all(coupon_ids: Collection[int], read: Callable[[Collection[int]], Backlog]) -> set[int]:
    """Returns the coupons whose gates stay as they are, because their partition has just died."""
    standing = _standing(coupon_ids)
    if not standing:
        return set()
    found = read(standing)
    unread = {coupon_id for coupon_id in standing if not found.covers(coupon_id)}
    standing = {coupon_id: each for coupon_id, each in standing.items() if coupon_id not in unread}
    if not standing:
        raise LogUnavailable(marked("the partitions of these coupons look dead"))
    undecided = _undecided(found)
    # The reading has other coupons' events too: loading their gates now saves the next reading. Where the
    # topic had fewer partitions once, the coupon's own partition may be one that was left out. A coupon whose
    # deferred events were left out is loaded when it is asked for.
    others = {coupon_id for coupon_id in undecided.keys() - standing.keys() if found.covers(coupon_id)}
    standing |= _standing(others)
    fresh = coupon_cache.cached_coupons(standing, fresh=True)
    # Events come before reservations: where a user has two requests, the slot is the first one's.
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
    return unread


def _standing(coupon_ids: Collection[int]) -> dict[int, tuple[str, Sequence[Claim]]]:
    """By coupon, for gates that are not loaded: its epoch, and the reservations that the gate holds."""
    coupons = list(coupon_cache.cached_coupons(coupon_ids, fresh=True).values())
    return {
        coupon.coupon_id: (coupon.epoch, found)
        for coupon, found in zip(coupons, gate.standing_each(coupons), strict=True)
        if not isinstance(found, Loaded)
    }


def _read(coupon_ids: Collection[int], within_s: float) -> Backlog:
    """The undecided part of the log that can be read, and what is deferred of these coupons.

    If one coupon is asked for, only its own events.
    """
    only = next(iter(coupon_ids)) if len(coupon_ids) == 1 else None
    producer = event_producer()
    try:
        return backlog.read(
            timeout_s=within_s,
            coupon_id=only,
            deferred_of=coupon_ids,
            without=producer.unpromising_partitions,
        )
    except LogUnavailable:
        metrics.GATE_LOADS.labels(result="log_unavailable").inc()
        producer.suspect()
        raise


def _read_although_dead(coupon_id: int) -> Backlog:
    """The coupon's undecided events, from its own partition and those that look alive.

    It may have events in another one, from when the topic had fewer partitions.
    """
    producer = event_producer()
    own = partition_of(partition_key(coupon_id), producer.partitions) if producer.partitions else None
    others = producer.unpromising_partitions - {own}
    return backlog.read(timeout_s=_ALTHOUGH_DEAD_S, coupon_id=coupon_id, without=others, minds_failures=False)


def _undecided(found: Backlog) -> Mapping[int, list[Claim]]:
    """The claims of undecided events, in log order, by coupon."""
    claims: defaultdict[int, list[Claim]] = defaultdict(list)
    for event in (request.event for request in found.requests):
        claims[event.coupon_id].append(event.claim)
    return claims


def _still_undecided(claims: Iterable[Claim]) -> Mapping[int, list[Claim]]:
    """The undecided claims by coupon, without those whose user has the coupon: they will be rejected."""
    wanted = list(claims)
    over: set[UUID] = set()
    holders: set[Holding] = set()
    for some in in_chunks(wanted, _IN_AT_ONCE):
        over |= selectors.with_outcome([claim.request_id for claim in some])
        holders |= selectors.holders({claim.holding for claim in some})
    undecided: defaultdict[int, list[Claim]] = defaultdict(list)
    for claim in wanted:
        if claim.request_id not in over and claim.holding not in holders:
            undecided[claim.coupon_id].append(claim)
    return undecided


def _some(coupon_ids: Collection[int]) -> str:
    """The first ten, for a log line: a thousand numbers say no more than ten."""
    return ", ".join(map(str, sorted(coupon_ids)[:10])) + (" and more" if len(coupon_ids) > 10 else "")
