"""The one process that is started again when it dies."""

from __future__ import annotations

from collections.abc import Callable

from dev.embedded.errors import ProcessFailed
from dev.embedded.process import ChildProcess
from dev.embedded.terminal import say

RESTARTS = 3


class RestartedConsumer:
    """The consumer, and its replacement when it has ended.

    Stopping everything at its death would lose what is accepted and not decided, because the broker's
    log lives in memory; a consumer that comes back decides it.
    """

    def __init__(self, *, start: Callable[[], ChildProcess]) -> None:
        self._start = start
        self._restarts_left = RESTARTS
        self.process = start()

    def restart_if_ended(self) -> None:
        """Raises ProcessFailed when it has ended too often."""
        if self.process.running:
            return
        ended = ended_error(self.process)
        if not self._restarts_left:
            raise ended
        self._restarts_left -= 1
        say(f"\n{ended}\nIt starts again; the broker gives it its partitions within some 10 s.")
        self.process = self._start()


def ended_error(process: ChildProcess) -> ProcessFailed:
    """What to say of a process that has ended on its own."""
    return ProcessFailed(
        f"{process.name} has ended ({process.how_it_ended()}); its last lines ({process.log}):\n"
        f"{process.last_lines()}"
    )
