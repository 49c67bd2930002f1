"""Group commit: what waits for the same step at the same time takes it together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gevent.lock import Semaphore

from runtime import greenlets

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class _Entry(Generic[T, R]):
    items: Sequence[T]
    results: list[R]  #: of the call that had the items; empty until then


class Grouped(Generic[T, R]):
    """A function of a list, called by greenlets: while one call is under way, the next one's list grows.

    Elsewhere than in the loop each call is made by itself.
    """

    def __init__(self, call: Callable[[Sequence[T]], R]) -> None:
        self._call = call
        self._waiting: list[_Entry[T, R]] = []
        self._turn = Semaphore()

    def __call__(self, items: Sequence[T]) -> R:
        """The result of a call that had these items among others. Raises what that raised, if it was ours."""
        if not greenlets.is_here():
            return self._call(items)
        mine: _Entry[T, R] = _Entry(items, [])
        self._waiting.append(mine)
        with self._turn:
            if not mine.results:
                self._call_for_all(mine)
            return mine.results[0]

    def _call_for_all(self, mine: _Entry[T, R]) -> None:
        group, self._waiting = self._waiting, []
        try:
            result = self._call([item for each in group for item in each.items])
        except BaseException:
            self._waiting[:0] = [each for each in group if each is not mine]  # they try for themselves
            raise
        for each in group:
            each.results.append(result)
