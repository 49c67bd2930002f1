"""A record to publish, and its receipt: acknowledged, certainly not published, or uncertain."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from coupons.eventlog.place import Place
from runtime import greenlets


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record to publish. ``topic`` None: the topic of the claims.

    ``until``: the last moment at which anybody waits for its receipt, by the monotonic clock. None: as long
    as a publish may take. ``since``: when its claim arrived, by the same clock.
    """

    key: bytes | None
    value: bytes | None
    topic: str | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    until: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The event is in the log."""

    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class NotPublished:
    """Nothing was written to the log, and nothing will be."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertain:
    """No acknowledgement came: the event may be in the log or not."""

    error: str


Receipt = Acknowledged | NotPublished | Uncertain


class Delivery:
    """Collects the receipts of one call to ``publish``.

    Made, and waited for, where ``publish`` runs: in the loop (its greenlet sleeps) or in a thread (it
    blocks). Records that are ``put_off`` may take long: who waits for the others need not wait for them.
    """

    def __init__(self, count: int) -> None:
        self.receipts: list[Receipt | None] = [None] * count
        self._put_off: set[int] = set()
        self._missing = count  # of those not put off
        self._missing_later = 0
        self._lock = threading.Lock()
        self._is_prompt = greenlets.event()
        self._is_complete: threading.Event | greenlets.LoopEvent | None = None

    def put_off(self, index: int) -> None:
        """Call it before the record has a receipt."""
        with self._lock:
            self._put_off.add(index)
            self._missing_later += 1
            self._one_less()

    def note(self, index: int, receipt: Receipt) -> None:
        """Note a record's first receipt. Runs in librdkafka's callback, where polls run: it must not wait."""
        with self._lock:
            if self.receipts[index] is not None:
                return
            self.receipts[index] = receipt
            if index in self._put_off:
                self._missing_later -= 1
            else:
                self._one_less()
            if self._is_complete is not None and not self._missing and not self._missing_later:
                self._is_complete.set()

    def _one_less(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._is_prompt.set()

    def is_prompt(self, timeout_s: float) -> bool:
        """Wait for the receipts of all records that are not put off; False if some are missing then."""
        return self._is_prompt.wait(timeout_s)

    def is_complete(self, timeout_s: float) -> bool:
        """Wait for all receipts; False if some are missing after that time. One caller waits at a time."""
        with self._lock:
            if not self._missing and not self._missing_later:
                return True
            if self._is_complete is None:
                self._is_complete = greenlets.event()
        return self._is_complete.wait(timeout_s)

    def wait(self, timeout_s: float) -> list[Receipt]:
        """Wait for all receipts; those that are missing after that time are uncertain."""
        self.is_complete(timeout_s)
        with self._lock:
            return [receipt or Uncertain(error="no delivery report in time") for receipt in self.receipts]

    def missing(self) -> list[int]:
        """The records without a receipt that were not put off."""
        with self._lock:
            return [
                index
                for index, receipt in enumerate(self.receipts)
                if receipt is None and index not in self._put_off
            ]

    def known(self, *, beyond: Collection[int] = ()) -> dict[int, Receipt]:
        """The receipts that are there, by index, without those of ``beyond``."""
        with self._lock:
            return {
                index: receipt
                for index, receipt in enumerate(self.receipts)
                if receipt is not None and index not in beyond
            }
