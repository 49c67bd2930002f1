"""Servers as background processes: started, recorded, recognised again, signalled.

A pid alone is not proof: after a crash or a reboot the number may belong to a stranger. So each record
holds the process's start time too, and nothing is signalled unless both agree.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.services.errors import ServiceError
from dev.services.files import replace_text
from dev.services.process import Launch, look_at, signals_held_back
from dev.services.waiting import wait_until

KILL_WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a stack remembers about a server it started."""

    pid: int
    started: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A server's process: at most one per name and folder."""

    name: str
    run_dir: Path
    log: Path

    @property
    def _record_file(self) -> Path:
        return self.run_dir / f"{self.name}.json"

    @property
    def _pid_file(self) -> Path:
        """The number alone, for scripts. This package goes by the record."""
        return self.run_dir / f"{self.name}.pid"

    def last_record(self) -> Record | None:
        """The latest start, whether or not it still runs."""
        try:
            return Record(**json.loads(self._record_file.read_text()))
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def running(self) -> Record | None:
        """The record of the server if it runs and is the one that was started here."""
        record = self.last_record()
        if record is None:
            return None
        seen = look_at(record.pid)
        return record if seen is not None and seen.started == record.started else None

    def paused(self) -> bool:
        record = self.running()
        seen = look_at(record.pid) if record else None
        return seen is not None and seen.paused

    def spawn(self, launch: Launch, *, port: int) -> Record:
        """Start the server, out of reach of a Ctrl-C in this terminal, and record it."""
        with signals_held_back(), self.log.open("ab") as log:
            process = subprocess.Popen(
                launch.command,
                cwd=launch.directory,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return self._record(process.pid, port=port)
            except BaseException:
                process.kill()
                process.wait()
                raise

    def _record(self, pid: int, *, port: int) -> Record:
        seen = look_at(pid)
        record = Record(pid=pid, started=seen.started if seen else "ended at once", port=port)
        replace_text(self._record_file, json.dumps(asdict(record)) + "\n")
        replace_text(self._pid_file, f"{pid}\n")
        return record

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
        if not self.wait_for_end(timeout_s=KILL_WAIT_S):
            raise ServiceError(
                f"{self.name} did not end within {KILL_WAIT_S:.0f} s of SIGKILL: see `ps` and `dmesg`"
            )

    def wait_for_end(self, *, timeout_s: float) -> bool:
        ended = wait_until(lambda: self.running() is None, timeout_s=timeout_s, interval_s=0.05)
        if ended:
            self._pid_file.unlink(missing_ok=True)
        return ended
