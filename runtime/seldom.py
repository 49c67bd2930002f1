"""Log lines of what happens thousands of times a second: once a minute, with a count."""

from __future__ import annotations

import threading
import time
from typing import Final

EVERY_S: Final = 60.0


class Seldom:
    """Called from any thread."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._said_at = float("-inf")
        self._lock = threading.Lock()

    def note(self) -> int:
        """How often it happened since it was last told, if it is time to tell it; else 0."""
        with self._lock:
            self._unsaid += 1
            if time.monotonic() - self._said_at < EVERY_S:
                return 0
            count, self._unsaid, self._said_at = self._unsaid, 0, time.monotonic()
            return count
