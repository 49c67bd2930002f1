"""Counts batches: one tally for each, laid down for the flushing thread. Never waits, takes no lock.

A batch is counted once. What metrics need is added up from the tally, which has far fewer entries.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from coupons.figures.spread import buckets_of
from coupons.outcomes import Code

#: Tallies that lie ready. A busy worker makes some 500 a second and they are fetched each second. Fewer, and
#: a database that hangs for its timeout of 5 s costs figures; more, and one that hangs for ever costs memory.
_MOST_LYING: Final = 20_000
#: Claims refused for haste that lie ready: more than a worker answers in the second until they are fetched.
#: Fewer, and a flood is counted too low; more, and one that meets a database that hangs costs memory.
_MOST_HASTY: Final = 50_000
_NOT_TIMED: Final = -1  #: in place of a bucket of time


class Figures(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What happened to one coupon in one second, in one process or all of them.

    ``answers``: claims by answer, ACCEPTED or the code of a refusal; ``decisions``: events by decision, or
    FAILED; ``took``: claims by the bucket (``spread.py``) of the time until their answer; ``waiting``: how
    many requests were accepted and undecided at the second's end, None if nobody could say.
    """

    answers: dict[str, int] = {}
    decisions: dict[str, int] = {}
    took: dict[int, int] = {}
    waiting: int | None = None

    def add(self, other: Figures) -> None:
        """Add another process's figures of the same second, or an earlier second's."""
        for mine, more in (
            (self.answers, other.answers),
            (self.decisions, other.decisions),
            (self.took, other.took),
        ):
            _add(mine, more)  # type: ignore[arg-type]
        if other.waiting is not None:
            self.waiting = max(self.waiting or 0, other.waiting)

    def is_empty(self) -> bool:
        return not (self.answers or self.decisions)


def _add(mine: dict[object, int], more: dict[object, int]) -> None:
    for name, count in more.items():
        mine[name] = mine.get(name, 0) + count


ByCoupon = Mapping[tuple[int, str], int]  #: how many, by coupon and answer, or by coupon and decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Claims of one batch, or of one second: how many by coupon, answer and bucket of time, or _NOT_TIMED."""

    second: int
    counts: Counter[tuple[int, str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Events of one batch: how many by coupon and decision."""

    second: int
    counts: ByCoupon


Tally = Answered | Decided
_Key = tuple[int, str, int] | tuple[int, str]


@dataclass(slots=True)
class Desk:
    """Where tallies lie until they are fetched. ``is_open``: somebody fetches; else nothing is kept."""

    is_open: bool = False
    lying: deque[Tally] = field(default_factory=lambda: deque(maxlen=_MOST_LYING))
    hasty: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_MOST_HASTY))

    def refused_for_haste(self, coupon_id: int) -> None:
        """Count a claim that its limit refused, and that joins no batch. Called in a worker's hub.

        How soon it was answered is not counted: that says nothing of how soon claims are.
        """
        if self.is_open:
            self.hasty.append((int(time.time()), coupon_id))

    def answered(self, coupons: Iterable[int], answers: Iterable[str], seconds: Sequence[float]) -> ByCoupon:
        """Count a batch's claims: the coupon, the answer and the time of each. Called in a worker's hub.

        Returns the counts without the times, for the metrics.
        """
        counts = Counter(zip(coupons, answers, buckets_of(seconds), strict=True))
        if self.is_open:
            self.lying.append(Answered(second=int(time.time()), counts=counts))
        by_coupon: dict[tuple[int, str], int] = {}
        for (coupon_id, answer, _), count in counts.items():
            key = (coupon_id, answer)
            by_coupon[key] = by_coupon.get(key, 0) + count
        return by_coupon

    def decided(self, pairs: Iterable[tuple[int, str]]) -> ByCoupon:
        """Count a batch's events: the coupon and the decision of each. Called in the consumer's loop.

        Returns the counts, for the metrics; they are not to be changed.
        """
        counts = Counter(pairs)
        if self.is_open and counts:
            self.lying.append(Decided(second=int(time.time()), counts=counts))
        return counts

    def fetch(self) -> list[Tally]:
        """Take what lies there. Called by the flushing thread, beside those above."""
        fetched: list[Tally] = []
        while self.lying:
            fetched.append(self.lying.popleft())
        hasty: dict[int, Counter[tuple[int, str, int]]] = {}
        while self.hasty:
            second, coupon_id = self.hasty.popleft()
            key = (coupon_id, Code.TOO_MANY_REQUESTS.value, _NOT_TIMED)
            hasty.setdefault(second, Counter())[key] += 1
        return [*fetched, *(Answered(second=second, counts=counts) for second, counts in hasty.items())]


desk: Final = Desk()


def merged(tallies: Iterable[Tally], *, not_before: int = 0) -> dict[tuple[int, int], Figures]:
    """The figures by coupon and second. What is older than ``not_before`` counts in that second.

    A second has hundreds of tallies of the same few keys, which are added up first.
    """
    seconds: defaultdict[int, Counter[_Key]] = defaultdict(Counter)
    for tally in tallies:
        seconds[max(tally.second, not_before)].update(tally.counts)
    found: dict[tuple[int, int], Figures] = {}
    for second, counts in seconds.items():
        for key, count in counts.items():
            _note(found.setdefault((key[0], second), Figures()), key, count)
    return found


def _note(figures: Figures, key: _Key, count: int) -> None:
    if len(key) == 3:
        _, answer, bucket = key
        figures.answers[answer] = figures.answers.get(answer, 0) + count
        if bucket != _NOT_TIMED:
            figures.took[bucket] = figures.took.get(bucket, 0) + count
    else:
        figures.decisions[key[1]] = figures.decisions.get(key[1], 0) + count
