"""One supervisor per directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.embedded.errors import AlreadyRunning


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file while the block runs. Raises AlreadyRunning if another process holds it.

    The kernel drops the lock with its owner, so a killed supervisor leaves nothing to clean up.
    The file stays: removing it would let two owners hold two files of one name.
    """
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise AlreadyRunning(
                f"the embedded stack already runs in {path.parent} (process {owner}): stop it with Ctrl-C "
                f"there or `kill {owner}`, or set COUPON_EMBEDDED_DIR and the ports for a second one"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
