"""Counts batches: one tally for each, laid down for the flushing thread. Never waits, takes no lock."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Final

import msgspec

from coupons.figures.spread import bucket_of

#: Tallies that lie ready. A busy worker makes some 500 a second and they are fetched each second. Fewer, and
#: a database that hangs for its timeout of 5 s costs figures; more, and one that hangs for ever costs memory.
_MOST_LYING: Final = 20_000


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Claims of one batch: how many by coupon, answer and bucket of time."""

    second: int
    counts: Counter[tuple[int, str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Events of one batch: how many by coupon and decision."""

    second: int
    counts: Counter[tuple[int, str]]


Tally = Answered | Decided


@dataclass(slots=True)
class Desk:
    """Where tallies lie until they are fetched. ``is_open``: somebody fetches; else nothing is counted."""

    is_open: bool = False
    lying: deque[Tally] = field(default_factory=lambda: deque(maxlen=_MOST_LYING))

    def answered(self, coupons: Iterable[int], answers: Iterable[str], seconds: Sequence[float]) -> None:
        """Count a batch's claims: the coupon, the answer and the time of each. Called in a worker's hub."""
        if self.is_open:
            counts = Counter(zip(coupons, answers, map(bucket_of, seconds), strict=True))
            self.lying.append(Answered(second=int(time.time()), counts=counts))

    def decided(self, pairs: Collection[tuple[int, str]]) -> None:
        """Count a batch's events: the coupon and the decision of each. Called in the consumer's loop."""
        if self.is_open and pairs:
            self.lying.append(Decided(second=int(time.time()), counts=Counter(pairs)))

    def fetch(self) -> list[Tally]:
        """Take what lies there, oldest first. Called by the flushing thread, beside the two above."""
        fetched = []
        while self.lying:
            fetched.append(self.lying.popleft())
        return fetched


desk: Final = Desk()


def merged(tallies: Iterable[Tally], *, not_before: int = 0) -> dict[tuple[int, int], Figures]:
    """The figures by coupon and second. What is older than ``not_before`` counts in that second."""
    found: dict[tuple[int, int], Figures] = {}
    for tally in tallies:
        second = max(tally.second, not_before)
        for coupon_id, each in starmap(_as_figures, tally.counts.items()):
            found.setdefault((coupon_id, second), Figures()).add(each)
    return found


def _as_figures(key: tuple[int, str, int] | tuple[int, str], count: int) -> tuple[int, Figures]:
    if len(key) == 3:
        return key[0], Figures(answers={key[1]: count}, took={key[2]: count})
    return key[0], Figures(decisions={key[1]: count})
