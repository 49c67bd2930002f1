"""How long the crowd waited, and for how long it was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from dev.faults.rush import Answer

#: Each worker finds out for itself that a partition is dead.
_ALL_WORKERS_KNOW_S: Final = 1.0


def longest(answers: Iterable[Answer]) -> float:
    """The longest that a claim waited for its answer, in seconds."""
    return max((answer.took_s for answer in answers), default=0.0)


def longest_refused(answers: Iterable[Answer]) -> float:
    """The longest time in which nobody was told anything but to try again, in seconds."""
    return max((until - since for since, until, _ in _spans(answers)), default=0.0)


def later(answers: Iterable[Answer]) -> list[Answer]:
    """The claims that were refused, and came after others had been refused already."""
    return [
        answer
        for _, _, refused in _spans(answers)
        for answer in refused
        if answer.asked_at > refused[0].answered_at + _ALL_WORKERS_KNOW_S
    ]


def _spans(answers: Iterable[Answer]) -> list[tuple[float, float, Sequence[Answer]]]:
    """Each time in which all answers were refusals of the service: since, until, and these."""
    spans: list[tuple[float, float, Sequence[Answer]]] = []
    refused: list[Answer] = []
    good_at = float("-inf")
    for answer in sorted(answers, key=lambda each: each.answered_at):
        if not answer.is_last_word:
            refused.append(answer)
            continue
        if refused:
            spans.append((_since(refused, good_at), answer.answered_at, refused))
        refused, good_at = [], answer.answered_at
    if refused:
        spans.append((_since(refused, good_at), refused[-1].answered_at, refused))
    return spans


def _since(refused: Sequence[Answer], good_at: float) -> float:
    return max(good_at, min(answer.asked_at for answer in refused))
