"""How long answers took, counted in buckets. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

#: Upper bounds in seconds, each 1.5 times the one before: 0.5 ms to 33 s. Rows of the database hold their
#: numbers for years, so bounds may be added at the end and never changed. Wider, and a percentile says less;
#: narrower, and rows are longer.
BOUNDS_S: Final = tuple(0.0005 * 1.5**step for step in range(28))


_bucket: Final = partial(bisect_left, BOUNDS_S)


def bucket_of(seconds: float) -> int:
    """The number of the bucket; ``len(BOUNDS_S)`` for what took longer than all bounds."""
    return _bucket(seconds)


def buckets_of(seconds: Iterable[float]) -> Iterator[int]:
    """The bucket of each. Each claim passes here: no function of Python's is called for it."""
    return map(_bucket, seconds)


def percentile_s(buckets: Mapping[int, int], share: float) -> float | None:
    """The time within which this share of the answers came, 0.99 for p99; None without answers.

    Between the bounds of its bucket, as if its answers were spread evenly. Answers beyond the last bound
    count as if they had taken just that long.
    """
    total = sum(buckets.values())
    if not total:
        return None
    wanted, passed = share * total, 0
    for number in sorted(buckets):
        count = buckets[number]
        if passed + count >= wanted:
            upper = BOUNDS_S[min(number, len(BOUNDS_S) - 1)]
            lower = BOUNDS_S[number - 1] if 0 < number < len(BOUNDS_S) else (0.0 if number == 0 else upper)
            return lower + (upper - lower) * (wanted - passed) / count
        passed += count
    return BOUNDS_S[-1]
