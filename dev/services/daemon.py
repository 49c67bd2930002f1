"""Servers that outlive the command that started them: recorded, recognised again, signalled.

A pid alone is not proof: after a crash or a reboot the number may belong to a stranger. So each record
holds the process's start time too, and nothing is signalled unless both agree.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from dev.processes import Process, wait_until
from dev.servers import ServiceError
from dev.services.stack import Kind, replace_text

PROC = Path("/proc")
KILL_WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which database server it is."""

    kind: Kind
    binlog: bool  #: what a replica follows. Without one, a commit costs one write less


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a stack remembers about a server it started."""

    pid: int
    started: str
    port: int
    choice: Choice | None = None  #: of a database


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A living process as the system shows it."""

    started: str  #: tells it from any other process that has or had its pid
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A server's process: at most one per name and folder."""

    name: str
    run_dir: Path
    log: Path

    @property
    def _record_file(self) -> Path:
        return self.run_dir / f"{self.name}.json"

    def last_record(self) -> Record | None:
        """The latest start, whether or not it still runs."""
        try:
            told = json.loads(self._record_file.read_text())
            choice = told.pop("choice", None)
            made = choice and Choice(kind=Kind(choice["kind"]), binlog=choice["binlog"])
            return Record(**told, choice=made)
        except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError):
            return None

    def running(self) -> Record | None:
        """The record of the server if it runs and is the one that was started here."""
        record = self.last_record()
        seen = look_at(record.pid) if record else None
        return record if record and seen and seen.started == record.started else None

    def paused(self) -> bool:
        record = self.running()
        seen = look_at(record.pid) if record else None
        return seen is not None and seen.paused

    def start(self, server: Process, choice: Choice | None) -> None:
        """Start the server, out of reach of a Ctrl-C in this terminal, and record it."""
        with signals_held_back():
            pid = server.start().pid
            try:
                seen = look_at(pid)
                started = seen.started if seen else "ended at once"
                record = Record(pid=pid, started=started, port=server.port, choice=choice)
                replace_text(self._record_file, json.dumps(asdict(record)) + "\n")
            except BaseException:
                server.kill()
                raise

    def signal(self, number: signal.Signals) -> None:
        record = self.running()
        if record is not None:
            try:
                os.kill(record.pid, number)
            except ProcessLookupError:
                pass  # it ended between the look and the signal: the caller looks again
            except PermissionError as error:
                raise ServiceError(
                    f"{self.name} (pid {record.pid}) belongs to another user: run this as them"
                ) from error

    def ask_to_stop(self) -> None:
        """SIGTERM; a paused process must go on to be able to end."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if not self.wait_for_end(within_s=KILL_WAIT_S):
            raise ServiceError(
                f"{self.name} did not end within {KILL_WAIT_S:.0f} s of SIGKILL: see `ps` and `dmesg`"
            )

    def wait_for_end(self, *, within_s: float) -> bool:
        return wait_until(lambda: self.running() is None, within_s=within_s)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Deliver Ctrl-C and its kin after the block, so that a server is never running and unrecorded.

    Handlers, not a signal mask: a mask would be inherited by the server.
    """
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in held:
            signal.raise_signal(late)


def look_at(pid: int) -> Sighting | None:
    """The process with this pid, None when there is none or it is dead and merely not yet reaped."""
    return _look_in_proc(pid) if (PROC / "self").exists() else _look_with_ps(pid)


def _look_in_proc(pid: int) -> Sighting | None:
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets and may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    state, threads, ticks_since_boot = fields[0], int(fields[17]), fields[19]
    if state in "ZXx" and threads <= 1:  # with more, the last ones still hold ports and files
        return None
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return Sighting(started=f"{boot}/{ticks_since_boot}", paused=state in "Tt")


def _look_with_ps(pid: int) -> Sighting | None:
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    )
    state, _, started = shown.stdout.strip().partition(" ")
    if not state or state.startswith("Z"):
        return None
    return Sighting(started=started.strip(), paused=state.startswith("T"))
