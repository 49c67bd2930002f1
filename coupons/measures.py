"""Metrics of claims and events, fed with a batch's counts by coupon: those of the hottest, and the totals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coupons.outcomes import Code, Decision
from runtime import metrics
from runtime.hot_counts import Counts, HotCounts

ACCEPTED: Final = "ACCEPTED"  #: the outcome of a claim that was told 202


def _made(metric: str, documentation: str, label: str, kinds: Iterable[str]) -> HotCounts:
    counts = HotCounts(metric, documentation, ("coupon", label), [*kinds])
    metrics.by_name.append(counts)
    return counts


CLAIMS: Final = _made(
    "coupon_claims_by_coupon_total",
    "Claims on the hottest coupons by answer; all the others' are of the coupon other.",
    "outcome",
    [ACCEPTED, *(code.value for code in Code)],
)
DECIDED: Final = _made(
    "coupon_decided_by_coupon_total",
    "Events of the hottest coupons by decision; all the others' are of the coupon other.",
    "decision",
    [decision.value for decision in Decision],
)


def claims_answered(counts: Counts) -> None:
    """Count claims, by coupon and answer. Called in a worker's hub, for a batch."""
    CLAIMS.count(counts)
    for outcome, count in _by_kind(counts).items():
        metrics.CLAIMS.labels(outcome=outcome).inc(count)


def events_decided(counts: Counts) -> None:
    """Count events, by coupon and decision. Called in the consumer's loop, for a batch."""
    DECIDED.count(counts)
    for decision, count in _by_kind(counts).items():
        metrics.EVENTS_DECIDED.labels(decision=decision).inc(count)


def _by_kind(counts: Counts) -> dict[str, int]:
    total: dict[str, int] = {}
    for (_, kind), count in counts.items():
        total[kind] = total.get(kind, 0) + count
    return total
