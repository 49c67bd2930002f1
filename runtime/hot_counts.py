"""Counters for the hottest names of very many: the rest is counted as "other".

A label of prometheus_client stays for as long as the process does, in files too, so that a coupon as a label
would make metrics grow with every event. Here a worker has a fixed number of slots in a file of fixed size;
each minute the hottest names of that minute have them. A name that lost its slot is not shown any more; its
counts are not moved to "other", whose rate would jump.
"""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from runtime import metrics_files, metrics_folder

OTHER: Final = "other"
_OTHER_SLOT: Final = 0
#: Names that have a series, in each process. More, and Prometheus keeps more series than an event's page
#: shows; fewer, and an event of several hot coupons is "other".
MOST: Final = 20
#: Names whose heat is known at a time: a client may ask for as many coupons as it likes.
_KNOWN: Final = 10_000
EVERY_S: Final = 60.0
_CELL: Final = 8
_SUFFIX: Final = ".hot"
Counts = Mapping[tuple[int, str], int]  #: how many, by name (a positive number) and kind


class HotCounts(Collector):
    """Counts for the thread that calls ``count``; ``collect`` may run in any thread.

    ``kinds``: the closed set of values of the second label. Without PROMETHEUS_MULTIPROC_DIR the counts are
    in this process's memory alone.
    """

    def __init__(
        self, metric: str, documentation: str, labels: tuple[str, str], kinds: Sequence[str]
    ) -> None:
        self._metric = metric
        self._documentation = documentation
        self._labels = labels
        self._kinds = {kind: number for number, kind in enumerate(kinds, start=1)}
        self._width = len(kinds) + 1  # a slot: its name, then a count for each kind
        self._slots: dict[int, int] = {}
        self._heat: Counter[int] = Counter()
        self._ranked_at = time.monotonic()
        self._file = ""
        self._pid = 0
        self._cells = memoryview(bytearray())

    def count(self, counts: Counts) -> None:
        """Add these. Costs a dictionary's look-up each; call it for a batch."""
        if self._pid != os.getpid():
            self._begin()
        for (name, kind), number in counts.items():
            if name in self._heat or len(self._heat) < _KNOWN:
                self._heat[name] += number
            slot = self._slots.get(name)
            if slot is None:
                slot = self._take_free(name)
            self._cells[slot * self._width + self._kinds[kind]] += number
        if time.monotonic() - self._ranked_at > EVERY_S:
            self.rank()

    def rank(self) -> None:
        """Give the slots to the hottest names since the last time."""
        hottest = [name for name, _ in self._heat.most_common(MOST)]
        colder = sorted(set(self._slots) - set(hottest), key=lambda name: self._heat[name])
        for name in hottest:
            if name not in self._slots and self._take_free(name) == _OTHER_SLOT and colder:
                self._give(self._slots.pop(colder.pop(0)), name)
        self._heat.clear()
        self._ranked_at = time.monotonic()

    def restore(self) -> None:
        """Write this process's file again if somebody deleted it."""
        if self._pid == os.getpid() and self._file and not os.path.exists(self._file):
            before, self._cells = self._cells, self._mapped()
            self._cells[: len(before)] = before

    def collect(self) -> Iterator[Metric]:
        """The metric, added up over all workers. Reads files: not in the loop."""
        total: Counter[tuple[str, str]] = Counter()
        for cells in self._all_cells():
            for name, kind, number in self._read(cells):
                total[name, kind] += number
        family = CounterMetricFamily(
            self._metric.removesuffix("_total"), self._documentation, labels=self._labels
        )
        for labels, number in sorted(total.items()):
            family.add_metric(labels, number)
        yield family

    def _read(self, cells: Sequence[int] | memoryview[int]) -> Iterator[tuple[str, str, int]]:
        for slot in range(MOST + 1):
            at = slot * self._width
            name = OTHER if slot == _OTHER_SLOT else str(cells[at])
            if name == "0":
                continue
            for kind, number in self._kinds.items():
                if cells[at + number]:
                    yield name, kind, cells[at + number]

    def _all_cells(self) -> Iterable[Sequence[int] | memoryview[int]]:
        folder = os.environ.get(metrics_folder.VARIABLE)
        if folder is None:
            return [self._cells] if len(self._cells) else []
        files = glob(f"{folder}/{self._metric}_*{_SUFFIX}")
        whole = (Path(file).read_bytes()[: self._bytes] for file in files)
        return [memoryview(each).cast("q") for each in whole if len(each) == self._bytes]

    def _begin(self) -> None:
        """Begin in this process: a forked one must not count in its parent's file."""
        self._slots = {}
        self._heat.clear()
        folder = os.environ.get(metrics_folder.VARIABLE)
        self._file = f"{folder}/{self._metric}_{os.getpid()}{_SUFFIX}" if folder else ""
        self._cells = self._mapped() if folder else memoryview(bytearray(self._bytes)).cast("q")
        self._pid = os.getpid()  # at the end: where the file could not be made, the next count tries again

    @property
    def _bytes(self) -> int:
        return (MOST + 1) * self._width * _CELL

    def _mapped(self) -> memoryview[int]:
        with open(metrics_files.made(self._file, b""), "r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), self._bytes)).cast("q")

    def _take_free(self, name: int) -> int:
        if len(self._slots) == MOST:
            return _OTHER_SLOT
        slot = next(each for each in range(1, MOST + 1) if each not in self._slots.values())
        self._give(slot, name)
        return slot

    def _give(self, slot: int, name: int) -> None:
        at = slot * self._width
        for cell in range(at + 1, at + self._width):
            self._cells[cell] = 0
        self._cells[at] = name
        self._slots[name] = slot
