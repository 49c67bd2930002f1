"""The folder through which the workers of one gunicorn master add their metrics up.

Each master has its own folder: a new master that overlaps with an old one must not touch the old one's
values. A lock on the folder shows that its master or one of its workers still lives (a process id would not:
in a container each start has the same one), and keeps systemd-tmpfiles from cleaning it. The master imports
this module, so it imports neither Django nor prometheus_client.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  #: prometheus_client reads the folder's name from it
_NAME: Final = "coupon-metrics"
_folder: Path | None = None
_lock: int | None = None


def make(*, port: int) -> None:
    """Make this master's folder, and remove the folders of this port's dead masters."""
    global _folder
    prefix = f"{_NAME}-{os.getuid()}-{port}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_left(folder)
    while _folder is None or not _is_ours(_folder):  # another master may have removed it as a dead one's
        _folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
        _hold(_folder)
    os.environ[VARIABLE] = str(_folder)


def ensure() -> None:
    """Make the folder again if somebody deleted it. Raises nothing, because an error would end the master."""
    if _folder is None or _folder.is_dir():
        return
    try:
        _folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _hold(_folder)
    except OSError as error:
        sys.stderr.write(f"metrics are not kept in {_folder}: {error.strerror}\n")


def forget(worker: int) -> None:
    """Remove the gauges of a worker that ended; its counters stay. Raises nothing."""
    if _folder is not None:
        for file in _folder.glob(f"gauge_live*_{worker}.db"):
            with suppress(OSError):
                file.unlink()


def workers() -> dict[int, list[int]]:
    """The pids of living workers on this machine that count in such folders, by their master's port."""
    found: dict[int, list[int]] = {}
    for folder in Path(tempfile.gettempdir()).glob(f"{_NAME}-{os.getuid()}-*-*-*"):
        port = folder.name.removeprefix(f"{_NAME}-{os.getuid()}-").split("-")[0]
        pids = {int(file.stem.split("_")[1]) for file in folder.glob("counter_[0-9]*.db")}
        if port.isdigit() and (living := sorted(filter(_lives, pids))):
            found.setdefault(int(port), []).extend(living)
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def remove() -> None:
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)


def _hold(folder: Path) -> None:
    """Lock the folder. Workers inherit the lock with the descriptor: the last one that ends frees it."""
    global _lock
    if _lock is not None:
        os.close(_lock)
    _lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(_lock, fcntl.LOCK_SH)


def _is_ours(folder: Path) -> bool:
    return _lock is not None and folder.is_dir() and os.path.samestat(folder.stat(), os.fstat(_lock))


def _remove_if_left(folder: Path) -> None:
    with _locked_alone(folder) as is_left:
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked_alone(folder: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # removed meanwhile, or not our folder
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
