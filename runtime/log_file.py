"""A log file that several processes append to, that rotates by size, and whose disk may be full.

The standard library's handlers raise into the caller if the folder is gone, print a trace for each record
on a full disk, and rotate for one process alone. concurrent-log-handler rotates for many processes, with a
lock for each record; here only a process that rotates takes a lock.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

WARN_EVERY_S: Final = 60.0  #: a full disk loses thousands of records a second: one warning counts them


class LogFile(logging.Handler):
    """Writes each record at once to the file's end, in the thread that logs. A lost record raises nothing."""

    def __init__(self, path: str, *, max_bytes: int, backups: int) -> None:
        super().__init__()
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._backups = backups
        self._descriptor: int | None = None
        self._is_torn = False  #: whether the last line has no end, because the disk became full
        self._lost = 0
        self._warned_at = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a record that cannot be formatted, as in logging's handlers
            self.handleError(record)
            return
        # A client may have sent characters that cannot be encoded: they are escaped.
        line = f"{text}\n".encode(errors="backslashreplace")
        try:
            self._write(line)
        except OSError as error:
            self._warn_of_lost(error)

    def _write(self, line: bytes) -> None:
        descriptor = self._current(len(line))
        rest = b"\n" + line if self._is_torn else line
        while rest:
            written = os.write(descriptor, rest)  # a part only if the disk becomes full
            rest = rest[written:]
            self._is_torn = bool(rest)

    def _current(self, wanted: int) -> int:
        """The file of our name, which is a new one if logrotate or another process has renamed ours."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return self._open()
        if self._descriptor is None or not os.path.samestat(named, os.fstat(self._descriptor)):
            return self._open()
        if self._max_bytes and named.st_size and named.st_size + wanted > self._max_bytes:
            self._rotate(self._descriptor)
            return self._open()
        return self._descriptor

    def _open(self) -> int:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        self._is_torn = False
        return self._descriptor

    def _rotate(self, descriptor: int) -> None:
        """Rename the file, if no other process does; each process opens the new file at its next record."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(self._path), os.fstat(descriptor)):
                for number in range(self._backups, 0, -1):
                    with suppress(FileNotFoundError):
                        os.replace(self._named(number - 1), self._named(number))
        except BlockingIOError:
            return  # another process is renaming
        except FileNotFoundError:
            return  # another process has renamed it, and no process has opened the next one yet
        except OSError as error:  # the folder allows no renaming: go on in the same file
            self._max_bytes = 0
            self._say(f"{self._path} is not rotated any more (COUPON_LOG_MAX_BYTES): {error.strerror}")

    def _named(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _warn_of_lost(self, error: OSError) -> None:
        self._lost += 1
        if time.monotonic() - self._warned_at < WARN_EVERY_S:
            return
        self._warned_at = time.monotonic()
        self._say(f"{self._lost} log records not written to {self._path} (COUPON_LOG_DIR): {error.strerror}")
        self._lost = 0

    @staticmethod
    def _say(what: str) -> None:
        with suppress(OSError):  # standard error may be a file on the same disk
            sys.stderr.write(f"{what}\n")
            sys.stderr.flush()

    def close(self) -> None:
        self.acquire()
        try:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        finally:
            self.release()
        super().close()
