"""Processes of the system: seen, started, run to the end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dev.services.errors import ServiceError

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A living process as the system shows it."""

    started: str  #: tells it from any other process that has or had its pid
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a server."""

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]


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


def run_to_end(launch: Launch, *, log: Path, timeout_s: float) -> int:
    """Run a preparing program and everything it starts to the end; on an interrupt nothing of it stays."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            launch.command,
            cwd=launch.directory,
            env=dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=timeout_s)
        except BaseException as error:
            with suppress(ProcessLookupError):  # it may have ended by itself just now
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise ServiceError(
                    f"{launch.command[0]} took longer than {timeout_s:.0f} s; see {log}"
                ) from error
            raise
