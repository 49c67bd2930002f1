"""A record to publish, and its receipt: acknowledged, certainly not published, or uncertain."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from coupons.eventlog.place import Place
from runtime import greenlets


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record to publish. ``topic`` None: the topic of the claims."""

    key: bytes | None
    value: bytes | None
    topic: str | None = None
    headers: Sequence[tuple[str, bytes]] = ()


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
    blocks).
    """

    def __init__(self, count: int) -> None:
        self.receipts: list[Receipt | None] = [None] * count
        self._missing = count
        self._lock = threading.Lock()
        self._complete = greenlets.event()

    def note(self, index: int, receipt: Receipt) -> None:
        """Note a record's first receipt. Runs in librdkafka's callback, where polls run: it must not wait."""
        with self._lock:
            if self.receipts[index] is None:
                self.receipts[index] = receipt
                self._missing -= 1
                if not self._missing:
                    self._complete.set()

    def is_complete(self, timeout_s: float) -> bool:
        """Wait for all receipts; False if some are missing after that time."""
        return self._complete.wait(timeout_s)

    def wait(self, timeout_s: float) -> list[Receipt]:
        """Wait for all receipts; those that are missing after that time are uncertain."""
        self._complete.wait(timeout_s)
        with self._lock:
            return [receipt or Uncertain(error="no delivery report in time") for receipt in self.receipts]
