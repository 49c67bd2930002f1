"""What a figure is and whether it is good enough. Pure.

A figure is ours, a baseline of the same run, and their ratio: machines differ, ratios travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    BELOW_FLOOR = "BELOW FLOOR"
    RED = "RED"  # a promise was broken meanwhile: the figure does not count
    REPORTED = "-"  # no target, or none that counts on this machine


@dataclass(frozen=True, slots=True)
class Target:
    """What one ratio must reach, and the floor, far below, that only a regression falls under.

    With ``smaller_is_better`` both are upper limits. None: the ratio is reported, not judged. ``stretch`` is
    what could be had, told beside the target.
    """

    unit: str
    beside: str  #: the baseline's name
    reach: float | None = field(kw_only=True)
    floor: float | None = field(kw_only=True)
    stretch: float | None = field(default=None, kw_only=True)
    smaller_is_better: bool = field(default=False, kw_only=True)

    def is_met_by(self, ratio: float) -> bool:
        return self.reach is None or self._is_as_good(ratio, self.reach)

    def is_floor_broken_by(self, ratio: float) -> bool:
        return self.floor is not None and not self._is_as_good(ratio, self.floor)

    def _is_as_good(self, ratio: float, limit: float) -> bool:
        return ratio <= limit if self.smaller_is_better else ratio >= limit

    def __str__(self) -> str:
        sign = "<=" if self.smaller_is_better else ">="
        beyond = "" if self.stretch is None else f" ({self.stretch:.2f})"
        return "-" if self.reach is None else f"{sign} {self.reach:.2f}{beyond}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. ``name`` is its key in ``targets.TARGETS``.

    ``of_rounds``: the ratio of each round, where ours and the baseline were measured next to each other.
    Their median counts: a machine that others share is slower for seconds, and a round is slow as a whole.
    """

    name: str
    ours: float
    baseline: float
    of_rounds: Sequence[float] = ()
    counts: bool = True  #: False: an absolute target, and this machine is too slow for it

    @property
    def ratio(self) -> float:
        if self.of_rounds:
            return median(self.of_rounds)
        return self.ours / self.baseline if self.baseline else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One measurement: its figures, what was wrong meanwhile, and everything else worth keeping."""

    name: str
    figures: Sequence[Figure] = ()
    complaints: Sequence[str] = ()  #: of ``manage.py verify``, or of the measurement itself
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def verdict(self, figure: Figure, target: Target) -> Verdict:
        if self.complaints:
            return Verdict.RED
        if not figure.counts:
            return Verdict.REPORTED
        if target.is_floor_broken_by(figure.ratio):
            return Verdict.BELOW_FLOOR
        if target.reach is None:
            return Verdict.REPORTED
        return Verdict.MET if target.is_met_by(figure.ratio) else Verdict.MISSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A figure and its verdict, or a measurement that has no figure."""

    outcome: Outcome
    figure: Figure | None
    target: Target | None
    verdict: Verdict


def lines(outcomes: Sequence[Outcome], targets: dict[str, Target]) -> list[Line]:
    judged = []
    for outcome in outcomes:
        for figure in outcome.figures:
            target = targets[figure.name]
            verdict = outcome.verdict(figure, target)
            judged.append(Line(outcome=outcome, figure=figure, target=target, verdict=verdict))
        if not outcome.figures:
            judged.append(Line(outcome=outcome, figure=None, target=None, verdict=Verdict.RED))
    return judged


def exit_code(judged: Sequence[Line], *, with_floors: bool) -> int:
    """1 if anything is red or, ``with_floors``, below its floor. A missed target is told, not punished."""
    failing = {Verdict.RED, Verdict.BELOW_FLOOR} if with_floors else {Verdict.RED}
    return int(any(line.verdict in failing for line in judged))
