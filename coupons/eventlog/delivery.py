"""What is published, and what the broker said of it: acknowledged, certainly not published, or uncertain."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from coupons.eventlog.place import Place
from runtime import greenlets


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is to be published. ``topic`` None: the topic of the claims."""

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
    """Collects the delivery reports of one call to ``publish``."""

    def __init__(self, count: int) -> None:
        self.receipts: list[Receipt | None] = [None] * count
        self._missing = count
        self._lock = threading.Lock()
        self._complete = greenlets.event()

    def note(self, index: int, receipt: Receipt) -> None:
        with self._lock:
            if self.receipts[index] is None:
                self.receipts[index] = receipt
                self._missing -= 1
                if not self._missing:
                    self._complete.set()

    def is_complete(self, timeout_s: float) -> bool:
        """Wait for all reports; False if some are missing after that time."""
        return self._complete.wait(timeout_s)

    def wait(self, timeout_s: float) -> list[Receipt]:
        self._complete.wait(timeout_s)
        with self._lock:
            return [receipt or Uncertain(error="no delivery report in time") for receipt in self.receipts]
