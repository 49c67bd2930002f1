"""The files in which a worker counts: they outlive a cleaned folder, and a full disk ends no worker.

prometheus_client writes its values into a mapped file. It makes the file empty and then longer: a process
that reads the file in between fails, and a disk without room for its pages ends the writer (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
from collections.abc import Iterable
from glob import glob
from typing import Any, ClassVar, Final

from prometheus_client import Metric, mmap_dict, values
from prometheus_client.multiprocess import MultiProcessCollector

#: The errors of reading a damaged file.
_DAMAGE: Final = (ValueError, LookupError, TypeError, AttributeError, RuntimeError, struct.error, OSError)
_BYTES: Final = 1 << 16  #: prometheus_client's first size; our metrics take a third of it


class KeptFile(mmap_dict.MmapedDict):
    """A file of values that has all its room when it appears."""

    open_files: ClassVar[list[KeptFile]] = []
    _fname: str
    _m: Any
    _f: Any

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        place = filename if os.path.exists(filename) else made(filename, b"")
        super().__init__(place, read_mode)  # type: ignore[no-untyped-call]
        self._fname = filename
        self._is_kept = place == filename
        self.open_files.append(self)

    def restore(self) -> None:
        """Write the file again if it was deleted; its values are still mapped in memory."""
        if not self._is_kept or os.path.exists(self._fname):
            return
        place = made(self._fname, self._m[:])
        self._is_kept = place == self._fname
        written = open(place, "a+b")  # noqa: SIM115 - as long as the process
        mapped = mmap.mmap(written.fileno(), self._capacity)
        mapped[:] = self._m[:]
        self._f.close()  # the old mapping stays: another thread may be counting in it
        self._f, self._m = written, mapped


class AllFiles(MultiProcessCollector):
    """Adds up the values of all workers; a damaged file costs its own values only."""

    _path: str

    def collect(self) -> Iterable[Metric]:
        try:
            return self._added_up(glob(f"{self._path}/*.db"))
        except _DAMAGE:
            return self._added_up([each for each in glob(f"{self._path}/*.db") if self._is_whole(each)])

    def _is_whole(self, file: str) -> bool:
        try:
            self._added_up([file])
        except _DAMAGE as error:
            sys.stderr.write(f"metrics in {file} cannot be read: {type(error).__name__}: {error}\n")
            return False
        return True

    def _added_up(self, files: list[str]) -> Iterable[Metric]:
        metrics: Iterable[Metric] = self.merge(files)  # type: ignore[no-untyped-call]
        return metrics


def use() -> None:
    """From now on prometheus_client keeps its values in such files. Call it before any metric is made."""
    values.MmapedDict = KeptFile  # type: ignore[attr-defined]


def restore() -> None:
    for file in KeptFile.open_files:
        file.restore()


def made(filename: str, content: bytes) -> str:
    """Make the file with all its room, and only then give it its name. Returns the path where it is.

    If the disk has no room, the file is in this process's memory: it is not added up, and no process ends.
    """
    try:
        descriptor, unfinished = tempfile.mkstemp(dir=os.path.dirname(filename), suffix=".new")
        try:
            os.posix_fallocate(descriptor, 0, max(_BYTES, len(content)))
            os.pwrite(descriptor, content, 0)
            os.rename(unfinished, filename)
        except OSError:
            os.unlink(unfinished)
            raise
        finally:
            os.close(descriptor)
    except OSError as error:
        sys.stderr.write(f"metrics are not kept in {filename}: {error.strerror}\n")
        descriptor = os.memfd_create(os.path.basename(filename))
        os.truncate(descriptor, max(_BYTES, len(content)))
        return f"/proc/self/fd/{descriptor}"
    return filename
