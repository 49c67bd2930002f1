"""Counts by coupon, of the hottest ones: what their claims were told, and how they were decided."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coupons.outcomes import Code, Decision
from runtime import metrics
from runtime.hot_counts import HotCounts

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
