"""Order statistics, by nearest rank: every answer is a value that was measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
