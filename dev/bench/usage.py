"""What processes take: CPU seconds and resident memory, with their children."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psutil

_LOOK_EVERY_S: Final = 0.05


@contextmanager
def cpu_counted(pids: Mapping[str, int]) -> Iterator[dict[str, float]]:
    """Fills in the CPU seconds that each took within the block."""
    before = _cpu_seconds(pids)
    used: dict[str, float] = {}
    yield used
    after = _cpu_seconds(pids)
    used.update({name: round(after[name] - before[name], 3) for name in before})


def resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


@dataclass(slots=True)
class Peak:
    resident_mb: float = 0.0


@contextmanager
def peak(pids: Sequence[int]) -> Iterator[Peak]:
    """What these processes took together at their most within the block, looked at 20 times a second."""
    found, is_over = Peak(), threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            try:
                found.resident_mb = max(found.resident_mb, sum(map(resident_mb, pids)))
            except psutil.NoSuchProcess:
                return

    looking = threading.Thread(target=look, name="peak")
    looking.start()
    try:
        yield found
    finally:
        is_over.set()
        looking.join()


def workers(pid: int) -> list[int]:
    """gunicorn's workers, by its main process."""
    return [child.pid for child in psutil.Process(pid).children()]


def _cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system time so far, by name, children included; 0 for one that has gone."""
    return {name: sum(_cpu_s(process) for process in _family(pid)) for name, pid in pids.items()}


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
