"""Order statistics, by nearest rank: every answer is a value that was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of all are not above. Raises ValueError on no values."""
    if not values:
        raise ValueError("no values were measured")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def binned_rate(moments: Sequence[float], *, bin_s: float, until: float) -> list[float]:
    """How many of these moments (seconds from 0) there are per second, bin by bin."""
    counts = [0] * max(1, math.ceil(until / bin_s))
    for moment in moments:
        counts[min(max(0, int(moment / bin_s)), len(counts) - 1)] += 1
    return [count / bin_s for count in counts]
