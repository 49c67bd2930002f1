"""Every metric, named and documented once; `/actuator/prometheus` shows the descriptions.

Under gunicorn the workers write their values to files, which are added up (PROMETHEUS_MULTIPROC_DIR,
made by runtime/metrics_folder.py); the consumer is one process with a registry of its own.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Collection
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.registry import Collector

from runtime import machine, metrics_files, metrics_folder
from runtime.hot_counts import HotCounts

if metrics_folder.VARIABLE in os.environ:
    metrics_files.use()

CONTENT_TYPE = CONTENT_TYPE_LATEST
_restoring: Final = threading.Lock()  #: the loop and the thread that reads the metrics both restore files
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
by_name: Final[list[HotCounts]] = []  #: made where their kinds are known: coupons/measures.py
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)

# The API
CLAIMS = Counter(
    "coupon_claims_total", "Claims by answer: ACCEPTED or the code of a refusal (docs/api.md).", ["outcome"]
)
CLAIM_SECONDS = Histogram("coupon_claim_seconds", "Time to answer one claim, in seconds.", buckets=_FAST)
CLAIM_GROUP_SIZE = Histogram(
    "coupon_claim_group_size", "Claims that were screened and published together.", buckets=_SIZES
)
PUBLISH_SECONDS = Histogram(
    "coupon_publish_seconds",
    "Time from publishing to the broker's acknowledgement, in seconds.",
    buckets=_FAST,
)
PRODUCER_UP = Gauge(
    "coupon_producer_up",
    "0 while the broker does not answer the producer of some process; 1 until it was asked.",
    multiprocess_mode="livemin",
)
PRODUCER_UP.set(1)
DEAD_PARTITIONS = Gauge(
    "coupon_dead_partitions",
    "Partitions that take no events, as far as some process knows; all of them while no broker answers.",
    multiprocess_mode="livemax",
)
PRODUCER_REBUILDS = Counter(
    "coupon_producer_rebuilds_total", "Producers made anew: messages timed out, or no broker was found."
)
GATE_FAILURES = Counter(
    "coupon_gate_failures_total", "Calls that Redis did not answer; the database was asked instead."
)
GATE_LOADS = Counter("coupon_gate_loads_total", "Gates filled from the database and the log.", ["result"])
LIMITED = Counter("coupon_limited_total", "Requests that were refused with 429, by what limit.", ["by"])
UNLIMITED = Counter(
    "coupon_unlimited_total", "Requests that passed uncounted, because Redis did not answer for their limits."
)

# The consumer
SLOTS_RECLAIMED = Counter(
    "coupon_slots_reclaimed_total", "Reservations without an event that were given back."
)
EVENTS_CONSUMED = Counter("coupon_events_consumed_total", "Events read from the topic.")
EVENTS_DECIDED = Counter(
    "coupon_events_decided_total",
    "Events decided, by decision (ISSUED, REPLAYED or a rejection).",
    ["decision"],
)
DEAD_LETTERS = Counter("coupon_dead_letters_total", "Events moved to the dead letters.", ["reason"])
BATCH_SIZE = Histogram("coupon_batch_size", "Events per batch.", buckets=_SIZES)
BATCH_SECONDS = Histogram(
    "coupon_batch_seconds", "Time to decide and commit one batch, in seconds.", buckets=_FAST
)
LOCK_WAIT = Histogram(
    "coupon_lock_wait_seconds", "Time to take a batch's Redis locks, in seconds.", buckets=_FAST
)
LOCK_MISSES = Counter(
    "coupon_lock_misses_total",
    "Locks not held for the whole batch: busy, expired or redis_away. The row lock decided alone.",
    ["cause"],
)
RETRIES = Counter(
    "coupon_batch_retries_total", "Batches tried again because something was away, by what.", ["cause"]
)
LAG = Gauge(
    "coupon_consumer_lag",
    "Events of a partition not yet decided.",
    ["partition"],
    multiprocess_mode="livemax",
)
OLDEST_UNDECIDED_SECONDS = Gauge(
    "coupon_oldest_undecided_seconds",
    "Age of the oldest event this consumer has not decided, 0 if none.",
    multiprocess_mode="livemax",
)
STALLED_SECONDS = Gauge(
    "coupon_stalled_seconds",
    "For how long something has been waiting without anything being decided; 0 while deciding goes on.",
    multiprocess_mode="livemax",
)
EVENTS_DEFERRED = Counter(
    "coupon_events_deferred_total",
    "Events of coupons whose deciding is paused, put aside to be decided later.",
)
DEFERRED_WAITING = Gauge(
    "coupon_events_deferred_waiting",
    "Events that are deferred now: an operator paused the deciding of their coupons.",
    multiprocess_mode="livemax",
)
DEFERRED_OLDEST_SECONDS = Gauge(
    "coupon_events_deferred_oldest_seconds",
    "For how long the deferred event that was put aside first has waited, 0 if none.",
    multiprocess_mode="livemax",
)
RETRYING_SECONDS = Gauge(
    "coupon_retrying_seconds",
    "For how long the batch in hand has been tried again and again, 0 if none.",
    multiprocess_mode="livemax",
)
PARTITIONS_STUCK = Gauge(
    "coupon_partitions_stuck",
    "Partitions that stand still until an operator acts (`manage.py log_position show`).",
    multiprocess_mode="livemax",
)
OFFSET_COMMIT_FAILURES = Counter(
    "coupon_offset_commit_failures_total",
    "Commits of Kafka's copy of the position that failed. Nothing is decided again for it.",
)
CONSUMER_REBUILDS = Counter(
    "coupon_consumer_rebuilds_total",
    "Kafka clients of consumers made anew: no broker answered, or what the log has did not come.",
)

# Looked after each minute by the consumer that has the turn to keep house; 0 in the others
DEAD_LETTERS_WAITING = Gauge(
    "coupon_dead_letters_waiting",
    "Dead letters that nobody replayed or discarded.",
    multiprocess_mode="livemax",
)
DATABASE_CLOCK = Gauge(
    "coupon_database_clock_offset_seconds",
    "The database's clock minus the consumer's.",
    multiprocess_mode="livemax",
)
VERIFY_FINDINGS = Gauge(
    "coupon_verify_findings",
    "What is wrong with the requests that were decided lately, as far as it is still so.",
    multiprocess_mode="livemax",
)
VERIFY_BEHIND = Gauge(
    "coupon_verify_behind_events", "Decided events that are not verified yet.", multiprocess_mode="livemax"
)
VERIFIED_AT = Gauge(
    "coupon_verified_timestamp_seconds",
    "When decided events were verified last, Unix time; also if there were none.",
    multiprocess_mode="livemax",
)


def observe_each(histogram: Histogram, values: Collection[float]) -> None:
    """As ``histogram.observe`` for each value, with one write for each bucket.

    prometheus_client has no such method (tests/unit/test_metrics.py holds it to ``observe``).
    """
    bounds = histogram._upper_bounds
    for bucket, count in Tally(bisect_left(bounds, value) for value in values).items():
        histogram._buckets[bucket].inc(count)
    histogram._sum.inc(sum(values))


def exposition() -> bytes:
    """All metrics of this service in Prometheus's text format. Reads files: not in the loop."""
    asked = CollectorRegistry()
    collectors: list[Collector] = [machine.here(), *by_name]
    for collector in collectors:
        asked.register(collector)
    return _counted() + generate_latest(asked)


def _counted() -> bytes:
    if metrics_folder.VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    restore()
    registry = CollectorRegistry()
    metrics_files.AllFiles(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def restore() -> None:
    """Write this process's files again if somebody deleted them; those of workers that ended are lost."""
    with _restoring:
        metrics_folder.ensure()
        metrics_files.restore()
        for counts in by_name:
            counts.restore()
