"""One child process: its own session, its output in a log file, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dev.embedded.settings import PROJECT

LAUNCHER = Path(__file__).with_name("launch.py")
TAIL_BYTES = 16_384


class ChildProcess:
    """A running command.

    It is the leader of a session of its own: the terminal's Ctrl-C does not reach it, and a
    signal to its group reaches its own children too. On Linux it also gets ``death_signal``
    when the thread that created this object ends, so create it in a thread that lasts.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        directory: Path = PROJECT,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(f"{log.name}.1"))  # why the last one ended may be in it
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal))]
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [*launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=dict(environment),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def wait(self, *, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs after ``timeout_s``."""
        try:
            return self._popen.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone: gunicorn's master tells its workers itself."""
        if self.running:
            self._popen.terminate()

    def stop(self, *, grace_s: float = 10) -> None:
        """Ask it to stop; after ``grace_s`` kill it and all it started."""
        self.ask_to_stop()
        self.wait(timeout_s=grace_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, also when its leader has ended already."""
        # Nobody may be left; macOS says EPERM for a group of zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(timeout=10)

    def last_lines(self, count: int = 20) -> str:
        """The end of its log, indented, for an error message."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
        lines = text.splitlines()[-count:] or ["(it wrote nothing)"]
        return "\n".join(f"    {line}" for line in lines)

    def how_it_ended(self) -> str:
        """``exit code 1`` or ``killed by SIGKILL``; for messages."""
        code = self.returncode
        if code is None:
            return "still running"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"
