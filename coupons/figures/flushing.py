"""Writes a process's figures to the database once a second, in a thread of its own.

Rows are only inserted: each process has rows of its own, so processes never wait for each other, and a second
that is written twice (the first answer was lost) is ignored the second time.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
from django.db import Error as DatabaseLayerError
from django.db import connection

from coupons import coupon_cache
from coupons.figures import refusals
from coupons.figures.counting import Desk, Figures, desk, merged
from coupons.gate.admission import GateUnavailable, gate
from coupons.models import SecondFigures
from runtime import database_roles
from runtime.chunks import in_chunks

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
#: Rows that a process writes a second: the busiest coupons'. The others' figures are added up until it is
#: their turn, so none is lost, and their seconds are coarser. More, and 10,000 open coupons keep the database
#: busy with figures; fewer, and a shop's many coupons have coarse charts.
MOST_ROWS: Final = 200
#: Coupons and seconds that wait while the database is away: some ten minutes of ten hot coupons, a few MB.
#: Beyond, seconds are added up; fewer, and the chart of an outage is coarser.
MOST_WAITING: Final = 5_000
#: Coupons that wait, some 30 MB. While the database is away nobody can tell an invented coupon from a real
#: one. More, and who asks for invented ones fills the memory; fewer, and figures of real coupons are lost.
_MOST_COUPONS: Final = 50_000
#: What is left is written within this at the end: 10,000 coupons' rows take some two seconds. Longer, and a
#: database that hangs holds up each stop; shorter, and a busy one misses the last figures.
PATIENCE_S: Final = 5.0
#: The last flush is tried again after a failure: it may be a connection that the server had closed.
_AGAIN_AFTER_S: Final = 0.2
Waiting = dict[tuple[int, int], Figures]  #: by coupon and second


class Flusher:
    """Fetches, adds up, writes. One per process; ``flush`` runs in its thread alone, or at the end."""

    def __init__(self, source: Desk) -> None:
        self._source = source
        self._process = secrets.randbits(62)
        self._waiting: Waiting = {}
        self._written = 0  # the last second that was written: a later tally of it counts in the next one

    def flush(self, *, is_last: bool = False) -> None:
        """Write the seconds that are over, or all there is. Raises database errors; nothing is lost then."""
        for key, figures in merged(self._source.fetch(), not_before=self._written + 1).items():
            self._waiting.setdefault(key, Figures()).add(figures)
        over = int(time.time())
        due = {key: figures for key, figures in self._waiting.items() if is_last or key[1] < over}
        if not due:
            return
        known = coupon_cache.cached_coupons({coupon_id for coupon_id, _ in due})
        real = {key: each for key, each in due.items() if key[0] in known}
        if is_last:
            self._waiting = real
            self._write_all()
            return
        chosen = _chosen(real)
        self._write(chosen)
        self._written = max([second for _, second in due])
        left = {key: each for key, each in real.items() if key not in chosen}
        self._waiting = {key: each for key, each in self._waiting.items() if key not in due}
        self._keep(left, at=self._written)

    def _write_all(self) -> None:
        """Some rows at a time, the busiest coupons' first, and each time for good: it may be cut short."""
        for some in in_chunks(_busiest_first(self._waiting), MOST_ROWS):
            self._write(dict(some))
            for key, _ in some:
                del self._waiting[key]

    def _write(self, figures: Waiting) -> None:
        """In one transaction: all of them, or none and it raises."""
        _sample(figures)
        self._insert(figures)
        self._written = max([self._written, *(second for _, second in figures)])

    def _insert(self, figures: Mapping[tuple[int, int], Figures]) -> None:
        SecondFigures.objects.bulk_create(
            [
                SecondFigures(
                    coupon_id=coupon_id,
                    second=second,
                    process=self._process,
                    figures=msgspec.json.encode(each).decode(),
                )
                for (coupon_id, second), each in sorted(figures.items())
            ],
            batch_size=MOST_ROWS,
            ignore_conflicts=True,
        )

    def _keep(self, left: Waiting, *, at: int) -> None:
        """Let these wait for their turn, as figures of the next second."""
        for (coupon_id, _), figures in left.items():
            self._waiting.setdefault((coupon_id, at + 1), Figures()).add(figures)

    def bound(self) -> None:
        """Add up what waits by coupon, if too much waits: the database was away for long."""
        if len(self._waiting) > MOST_WAITING:
            waiting, self._waiting = self._waiting, {}
            self._keep(waiting, at=max(second for _, second in waiting) - 1)
            for coupon_id, second in list(self._waiting)[_MOST_COUPONS:]:
                del self._waiting[coupon_id, second]


def _chosen(due: Waiting) -> Waiting:
    """The rows of this flush, which others follow: all, or those of the coupons with most figures."""
    return due if len(due) <= MOST_ROWS else dict(_busiest_first(due)[:MOST_ROWS])


def _busiest_first(due: Waiting) -> list[tuple[tuple[int, int], Figures]]:
    """Those of the coupons with most figures first; of one coupon, its earlier seconds."""
    weights: dict[int, int] = {}
    for (coupon_id, _), each in due.items():
        count = sum(each.answers.values()) + sum(each.decisions.values())
        weights[coupon_id] = weights.get(coupon_id, 0) + count
    rank = {
        coupon_id: n for n, coupon_id in enumerate(sorted(weights, key=weights.__getitem__, reverse=True))
    }
    return sorted(due.items(), key=lambda item: (rank[item[0][0]], item[0][1]))


def _sample(figures: Waiting) -> None:
    """Note in each coupon's last second how many requests wait, as its gate counts them now."""
    last: dict[int, int] = {}
    for coupon_id, second in figures:
        last[coupon_id] = max(second, last.get(coupon_id, 0))
    for coupon_id, count in waiting_now(last).items():
        figures[coupon_id, last[coupon_id]].waiting = count


def waiting_now(coupon_ids: Collection[int]) -> dict[int, int]:
    """How many requests are accepted and undecided, by coupon, where its gate says so. Waits for Redis."""
    found: dict[int, int] = {}
    try:
        for some in in_chunks(coupon_ids, MOST_ROWS):
            found |= gate.reserved_each(some)
    except GateUnavailable as error:
        log.debug("how many wait is not known: %s", error)
    return found


class FlushingThread:
    """Flushes once a second until it is stopped, and once more then."""

    def __init__(self, source: Desk) -> None:
        self._source = source
        self._flusher = Flusher(source)
        self._stop = threading.Event()
        self._until = 0.0  # by the monotonic clock: the end of the last flush
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def start(self) -> None:
        self._source.is_open = refusals.desk.is_open = True
        self._thread.start()

    def stop(self, *, patience_s: float) -> None:
        """Write what is left, if the database takes it by then. From any thread but this one's."""
        self._source.is_open = refusals.desk.is_open = False
        self._until = time.monotonic() + patience_s
        self._stop.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            log.warning("the last figures were not written within %.1f s", patience_s)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._flush()
        while not self._flush(is_last=True) and time.monotonic() < self._until:
            time.sleep(_AGAIN_AFTER_S)
        connection.close()

    def _flush(self, *, is_last: bool = False) -> bool:
        """Whether it was written."""
        try:
            with database_roles.watched():  # an old primary that lives on as a replica takes no rows
                self._flusher.flush(is_last=is_last)
                refusals.desk.flush()
        except DatabaseLayerError as error:
            log.info("figures wait for the database: %s", error)
            connection.close()
            return False
        finally:
            self._flusher.bound()
        return True


_thread: FlushingThread | None = None


def start() -> None:
    """From now on this process's figures are written. After the fork; from any thread."""
    global _thread
    _thread = FlushingThread(desk)
    _thread.start()


def stop(*, patience_s: float = PATIENCE_S) -> None:
    """Write what is left, and stop. Does nothing where nothing was started."""
    global _thread
    if _thread is not None:
        _thread.stop(patience_s=patience_s)
        _thread = None


@contextmanager
def running() -> Iterator[None]:
    start()
    try:
        yield
    finally:
        stop()
