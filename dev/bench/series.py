"""What happened over time, in bins, and percentiles by nearest rank: every answer was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from dev.bench.crowd import Report

_BINS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """An entry per bin. Rates per second; latencies in ms, None where nobody asked; ``issued`` committed."""

    bin_s: float
    answered: list[float]
    accepted: list[float]
    issued: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]
    last_answer_s: float
    last_outcome_s: float | None


def series_of(
    report: Report, *, samples: Sequence[tuple[float, int]] = (), last_outcome_s: float | None = None
) -> Series:
    """``samples``: epoch seconds and how many were issued until then. By the time of the answer; latencies
    by the time the request was due."""
    answered = [due + took for due, took in zip(report.due, report.took, strict=True)]
    last_answer_s = max(answered)
    until = max(last_answer_s, last_outcome_s or 0.0)
    bin_s = until / _BINS
    accepted = [at for at, status in zip(answered, report.statuses, strict=True) if status == 202]
    return Series(
        bin_s=bin_s,
        answered=binned_rate(answered, bins=_BINS, until=until),
        accepted=binned_rate(accepted, bins=_BINS, until=until),
        issued=_issued(samples, report.began_at, bin_s) if samples else [],
        p50_ms=_latencies(report, bin_s, 50),
        p99_ms=_latencies(report, bin_s, 99),
        last_answer_s=last_answer_s,
        last_outcome_s=last_outcome_s,
    )


def _issued(samples: Sequence[tuple[float, int]], began_at: float, bin_s: float) -> list[float]:
    edges = [began_at + number * bin_s for number in range(_BINS)] + [float("inf")]
    counts = [max((count for at, count in samples if at <= edge), default=0) for edge in edges]
    return [(after - before) / bin_s for before, after in pairwise(counts)]


def _latencies(report: Report, bin_s: float, percent: float) -> list[float | None]:
    bins: list[list[float]] = [[] for _ in range(_BINS)]
    for due, took in zip(report.due, report.took, strict=True):
        bins[min(int(due / bin_s), _BINS - 1)].append(took)
    return [round(percentile(values, percent) * 1000, 2) if values else None for values in bins]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of all are not above. Raises ValueError on no values."""
    if not values:
        raise ValueError("no values were measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def binned_rate(moments: Sequence[float], *, bins: int, until: float) -> list[float]:
    """How many of these moments (seconds from 0) there are per second, bin by bin."""
    bin_s = until / bins
    counts = [0] * bins
    for moment in moments:
        counts[min(max(0, int(moment / bin_s)), bins - 1)] += 1
    return [round(count / bin_s, 1) for count in counts]
