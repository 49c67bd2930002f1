"""Processes on this machine: started, waited for, stopped politely or not.

Everything in dev/ and tests/ that runs beside us is a ``Process``. Standard library only, so that
`make services-stop` works before any dependency of the project is installed.
"""

from __future__ import annotations

import errno
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, Self, TextIO
from urllib.parse import urlsplit

PROJECT: Final = Path(__file__).resolve().parent.parent
LOOPBACK: Final = "127.0.0.1"
READINESS: Final = "/actuator/health/readiness"
_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_TAIL_BYTES: Final = 16_384


class ProcessFailed(RuntimeError):
    """A process ended, was not ready, or did not end in time. The message has its last lines."""


@dataclass(slots=True, kw_only=True, eq=False)
class Process:
    """A command that runs as the leader of a session of its own, its output appended to a file.

    The terminal's Ctrl-C does not reach it, and a signal to its group reaches its own children too.
    ``dies_by``: on Linux it gets this signal when the thread that started it ends, however it ends, so
    start it in a thread that lasts; None: it outlives us.
    """

    name: str
    command: list[str]
    log: Path
    env: Mapping[str, str]
    folder: Path = PROJECT
    port: int = 0  #: where it answers, if it does
    dies_by: signal.Signals | None = None
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = self.command
        if self.dies_by is not None:
            launcher = [sys.executable, "-I", "-S", str(_LAUNCHER)]
            command = [*launcher, str(os.getpid()), str(int(self.dies_by)), *command]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def was_started(self) -> bool:
        return hasattr(self, "process")

    @property
    def running(self) -> bool:
        return self.was_started and self.process.poll() is None

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(
        self, is_ready: Callable[[], bool] | None = None, *, within_s: float = 40, every_s: float = 0.05
    ) -> Self:
        """Until it is; by its readiness route, unless told otherwise. Raises ProcessFailed."""
        is_ready = is_ready or self.serves
        deadline = time.monotonic() + within_s
        while self.running and time.monotonic() < deadline:
            if is_ready():
                return self
            time.sleep(every_s)
        raise self.failure(
            "was not ready in time" if self.running else f"ended at once ({self.how_it_ended()})"
        )

    def serves(self) -> bool:
        return status_of(f"http://{LOOPBACK}:{self.port}{READINESS}", patience_s=5) == 200

    def run(self, *, within_s: float, failing: str) -> None:
        """Start it and wait for its end; on an interrupt nothing of it stays.

        Raises ProcessFailed, beginning with ``failing``, for any exit code but 0.
        """
        start = self.log.stat().st_size if self.log.exists() else 0
        self.start()
        try:
            if wait_until(lambda: not self.running, within_s=within_s) and self.process.returncode == 0:
                return
            how = "took too long" if self.running else self.how_it_ended()
        finally:
            self.kill()
        raise ProcessFailed(f"{failing} ({how}); {self.log} ends:\n{last_lines(self.log, start=start)}")

    def wait(self, *, within_s: float) -> int | None:
        """The exit code, or None if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        return self.process.returncode

    def signal(self, number: signal.Signals) -> None:
        """To all its children too."""
        os.killpg(self.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP meanwhile: it is there and does nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM to the process alone: gunicorn's master tells its workers itself."""
        if self.running:
            self.process.terminate()

    def stop(self, *, grace_s: float = 30) -> int:
        """Ask it to stop; its exit code. After ``grace_s`` it is killed, and that is a ProcessFailed."""
        self.ask_to_stop()
        code = self.wait(within_s=grace_s)
        if code is None:
            self.kill()
            raise self.failure(f"did not stop within {grace_s:.0f} s and was killed")
        return code

    def kill(self) -> None:
        """SIGKILL to the whole group, also when its leader has ended already."""
        if self.was_started:
            # Nobody may be left; macOS says EPERM for a group of zombies.
            with suppress(ProcessLookupError, PermissionError):
                self.signal(signal.SIGKILL)
            self.process.wait(10)

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def how_it_ended(self) -> str:
        """``exit code 1`` or ``killed by SIGKILL``; for messages."""
        code = self.process.poll()
        if code is None:
            return "still running"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def failure(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"{self.name} {what}; its last lines ({self.log}):\n{last_lines(self.log)}")


def last_lines(log: Path, *, start: int = 0, count: int = 20) -> str:
    """The end of a log, indented, not reaching back before the offset ``start``."""
    if not log.exists():
        return "  (no log)"
    with log.open("rb") as file:
        file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
        lines = file.read().decode(errors="replace").splitlines()[-count:]
    return "\n".join(f"  {line[:300]}" for line in lines) or "  (nothing logged)"


def wait_until(condition: Callable[[], bool], *, within_s: float, every_s: float = 0.05) -> bool:
    """Whether the condition came true in time. It is asked at least once."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True


def status_of(url: str, *, patience_s: float = 2) -> int | None:
    """The HTTP status of a GET, or None without an answer. No proxy of the environment is used."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or LOOPBACK, parts.port, timeout=patience_s)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def free_port(*, in_a_row: int = 1) -> int:
    """The first of so many free ports, none of which an outgoing connection may take.

    A server that is killed and started again must find its port free.
    """
    for _ in range(1000):
        first = random.randint(15_000, 32_000)
        if all(port_error(port) is None for port in range(first, first + in_a_row)):
            return first
    raise RuntimeError("no free port from 15000 to 32000 was found in 1000 tries: see `ss -ltn`")


def port_error(port: int) -> OSError | None:
    """Why no server can listen there on loopback; None if one can."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return OSError(errno.EADDRINUSE, "somebody listens there")
    with socket.socket() as probe:
        # As the servers do: a connection that is only waiting out its end is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error
    return None


def interrupt_by(*numbers: signal.Signals) -> None:
    """From now on these signals do what Ctrl-C does: KeyboardInterrupt in the main thread."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print at once. A terminal or reader that has gone (`| head`) is no reason to leave things half done."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
