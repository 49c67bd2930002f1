"""An event's charts from its figures. Waits for the database: in the board's thread alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from coupons.figures import reading
from coupons.figures.counting import Figures
from coupons.figures.spread import percentile_s

LIVE_S: Final = 300  #: what "the last minutes" are
_POINTS: Final = 300  #: of the whole event's chart: more, and watchers load more than a screen shows
#: Rows come up to 2 s after their second, later only where the database was away; so many seconds are read
#: again each time. Fewer, and the newest points are too low; more, and each snapshot costs more.
_READ_AGAIN_S: Final = 6
#: The whole event is read anew after so long, or later where that takes long.
_WHOLE_EVERY_S: Final = 10.0
_WHOLE_COSTS: Final = 50  #: reading it takes at most a 50th of the time
_RATE_S: Final = 5  #: seconds that a rate is averaged over


@dataclass(slots=True)
class EventSeries:
    """One event's figures as they were last read. Belongs to the board's thread."""

    coupon_id: int
    live: dict[int, Figures] = field(default_factory=dict)
    whole: dict[int, Figures] = field(default_factory=dict)
    step: int = 1
    before: Figures = field(default_factory=Figures)  #: all that happened before ``known_to``
    known_to: int = 0
    read_to: int = 0  #: the second before which all was read that was there
    _whole_at: float = float("-inf")
    _whole_took_s: float = 0.0
    _read_again_from: int = 0

    def update(self, now: int, *, every_s: int = 1) -> None:
        """Read what is new, if the last reading is so long ago. Raises database errors."""
        if now - self.read_to < every_s:
            return
        if time.monotonic() - self._whole_at > max(_WHOLE_EVERY_S, _WHOLE_COSTS * self._whole_took_s):
            self._read_whole(now)
        first = now - LIVE_S
        since = max(first, self._read_again_from - _READ_AGAIN_S)
        newer = reading.by_step(self.coupon_id, since=since, until=now)
        kept = {second: each for second, each in self.live.items() if first <= second < since}
        self.live = kept | newer
        self.read_to = self._read_again_from = now

    def _read_whole(self, now: int) -> None:
        began = time.monotonic()
        # Later seconds are added from the live ones, which reach back further than a reading lasts.
        self.known_to = now - _READ_AGAIN_S
        span = reading.span(self.coupon_id)
        if span is not None:
            self.step = _round_step((span[1] - span[0]) / _POINTS)
            since = span[0] - span[0] % self.step
            self.whole = reading.by_step(self.coupon_id, since=since, until=self.known_to, step=self.step)
            self.before = reading.total(self.whole)
        self._read_again_from = 0  # late rows are read too
        self._whole_at = time.monotonic()
        self._whole_took_s = self._whole_at - began

    def totals(self) -> Figures:
        """All that happened until now."""
        total = Figures()
        total.add(self.before)
        for second, figures in self.live.items():
            if second >= self.known_to:
                total.add(figures)
        return total

    def minutes(self) -> dict[str, Any]:
        """The last minutes. The newest second has not been written by all: the chart ends before it."""
        now = self.read_to
        return _columns(self.live, first=now - LIVE_S, last=now - 2, step=1)

    def all(self) -> dict[str, Any] | None:
        if not self.whole:
            return None
        return _columns(self.whole, first=min(self.whole), last=max(self.whole), step=self.step)

    def recent(self) -> dict[str, Any]:
        """Rates and times of the last seconds that are whole."""
        now = self.read_to
        seconds = range(now - 1 - _RATE_S, now - 1)
        total = Figures()
        for second in seconds:
            total.add(self.live.get(second, Figures()))
        return {
            "claims": sum(total.answers.values()) / _RATE_S,
            "issued": total.decisions.get("ISSUED", 0) / _RATE_S,
            "p50": percentile_s(total.took, 0.5),
            "p99": percentile_s(total.took, 0.99),
        }


def _round_step(seconds: float) -> int:
    """The next step that people count in."""
    return next((step for step in (1, 2, 5, 10, 30, 60, 300, 600, 1800) if step >= seconds), 3600)


def _columns(figures: dict[int, Figures], *, first: int, last: int, step: int) -> dict[str, Any]:
    """Columns of equal length, from ``first`` to ``last``. Counts are per second."""
    points = [figures.get(begin) for begin in range(first, last + 1, step)]
    waiting, known = [], None
    for point in points:
        known = point.waiting if point is not None and point.waiting is not None else known
        waiting.append(known)
    return {
        "since": first,
        "step": step,
        "answers": _by_answer(points, step),
        "issued": [_rate(point.decisions.get("ISSUED", 0), step) if point else 0 for point in points],
        "waiting": waiting,
        "p50": [_took(point, 0.5) for point in points],
        "p99": [_took(point, 0.99) for point in points],
    }


def _by_answer(points: list[Figures | None], step: int) -> dict[str, list[float]]:
    names = sorted({name for point in points if point for name in point.answers})
    return {
        name: [_rate(point.answers.get(name, 0), step) if point else 0 for point in points] for name in names
    }


def _rate(count: int, step: int) -> float:
    return count if step == 1 else round(count / step, 2)


def _took(point: Figures | None, share: float) -> float | None:
    found = percentile_s(point.took, share) if point else None
    return None if found is None else round(found, 4)
