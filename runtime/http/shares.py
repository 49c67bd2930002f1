"""How many connections each process has of those that accept on the same listeners, in memory they all see.

The kernel wakes all of them for a connection, and on a quiet machine the same one is always first: clients
that came one after the other, and stay, were all with one process when the rush began, while the other cores
stood still. A listener of its own for each process (SO_REUSEPORT) would lose what waits at one that ends.
"""

from __future__ import annotations

import mmap
import time
from typing import Final

#: Processes at a time: twice as many as there may be workers, for those that are being replaced.
_PLACES: Final = 512
_CELL: Final = 8
#: A process that has not shown itself for so long is gone, or stands still. Shorter, and a busy one does not
#: count; longer, and the others wait for it with each connection.
_GONE_AFTER_S: Final = 1.0
#: Connections that a process may have before another, and of the other's the eighth part. Fewer, and those
#: who come together wait for turns; more, and the shares of a small crowd are far from equal.
_AHEAD: Final = 4


class Shares:
    """Made in the process that forks the others."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 2 * _PLACES * _CELL)).cast("q")

    def of(self, number: int) -> Share:
        """The share of the process with this number, as long as nobody 512 numbers before it lives."""
        return Share(self._cells, number % _PLACES)


class Share:
    """One process's. ``show`` is called a few times a second."""

    def __init__(self, cells: memoryview[int], place: int) -> None:
        self._cells = cells  # of each place: when it was shown, in monotonic ns, and the connections
        self._place = place
        self._others: list[int] = []

    def show(self, connections: int) -> None:
        """Show that this process lives and accepts, and see who else does."""
        now = time.monotonic_ns()
        self.count(connections)
        self._cells[2 * self._place] = now
        since = max(0, now - round(_GONE_AFTER_S * 1e9))  # a place that nobody ever had says 0
        self._others = [
            place for place in range(_PLACES) if place != self._place and self._cells[2 * place] > since
        ]

    def count(self, connections: int) -> None:
        self._cells[2 * self._place + 1] = connections

    def is_ahead(self, connections: int) -> bool:
        """Whether the next connection should be left to another process, which has far fewer."""
        living = [self._cells[2 * place + 1] for place in self._others if self._cells[2 * place]]
        if not living:
            return False
        fewest = min(living)
        return connections >= fewest + _AHEAD + fewest // 8

    def leave(self) -> None:
        """This process accepts no more, as all see at once; or not until it is shown again."""
        self._cells[2 * self._place] = 0
