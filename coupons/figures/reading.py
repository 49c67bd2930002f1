"""Adds up the figures that processes wrote. Waits for the database: never in the loop."""

from __future__ import annotations

from typing import Final

import msgspec
from django.db.models import Max, Min

from coupons.figures.counting import Figures
from coupons.models import SecondFigures

#: Rows that are fetched at once: an event of a day has some 700,000 with eight processes. More, and they need
#: memory; fewer, and more round trips.
_AT_ONCE: Final = 5_000
_decoder: Final = msgspec.json.Decoder(Figures)


def by_step(coupon_id: int, *, since: int, until: int, step: int = 1) -> dict[int, Figures]:
    """The figures from one second to before the other, of all processes, by each step's first second.

    ``waiting`` is the last one that is known in the step.
    """
    rows = (
        SecondFigures.objects.filter(coupon_id=coupon_id, second__gte=since, second__lt=until)
        .order_by("second")
        .values_list("second", "figures")
    )
    found: dict[int, Figures] = {}
    second_of: dict[int, int] = {}
    for second, text in rows.iterator(_AT_ONCE):
        begin = second - (second - since) % step
        figures = _decoder.decode(text)
        into = found.setdefault(begin, Figures())
        if figures.waiting is not None and second_of.get(begin, second) < second:
            into.waiting = None  # a later second's sample stands
        if figures.waiting is not None:
            second_of[begin] = second
        into.add(figures)
    return found


def span(coupon_id: int) -> tuple[int, int] | None:
    """The first and the last second that have figures."""
    rows = SecondFigures.objects.filter(coupon_id=coupon_id)
    found = rows.aggregate(first=Min("second"), last=Max("second"))
    return None if found["first"] is None else (found["first"], found["last"])


def total(figures: dict[int, Figures]) -> Figures:
    """All of these together; ``waiting`` is the last one that is known."""
    whole = Figures()
    for second in sorted(figures):
        waiting = figures[second].waiting
        whole.add(figures[second])
        if waiting is not None:
            whole.waiting = waiting
    return whole
