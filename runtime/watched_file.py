"""A file that is read again when it has changed, also where Kubernetes puts another one in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final


class WatchedFile:
    """For one thread. ``path`` empty: there is none, and it never changes."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> str | None:
        """Its text, if it is not the file that was read last; None if it is, or is not there for now.

        Raises UnicodeDecodeError for what is no text, once.
        """
        try:
            found = os.stat(self.path) if self.path else None
            seen = None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen is None or seen == self._seen:
                return None
            self._seen = seen
            return Path(self.path).read_text()
        except OSError:
            return None
