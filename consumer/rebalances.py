"""Partitions that come or go while a batch is being decided: they do so once it is decided.

The loop polls meanwhile, to read ahead, and librdkafka tells of rebalances inside of that. Whoever decides a
batch may then rely on its partitions to the end. A new owner that was faster moved the position, so that
nothing is decided twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Rebalances:
    """For the loop's thread alone."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._are_held_back = False

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """While the block runs, changes wait; they are made at its end, in order, however it ends."""
        self._are_held_back = True
        try:
            yield
        finally:
            self._are_held_back = False
            while self._waiting:
                self._waiting.popleft()()

    def make(self, change: Callable[[], None]) -> None:
        """Make this change of what we know of our partitions: now, or at the end of the block."""
        if self._are_held_back:
            self._waiting.append(change)
        else:
            change()
