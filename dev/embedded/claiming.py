"""One stack per directory, on ports that nobody else has."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.embedded.settings import StackError
from dev.processes import port_error


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file while the block runs. Raises StackError if another process holds it.

    The kernel drops the lock with its owner, so a killed supervisor leaves nothing to clean up.
    The file stays: removing it would let two owners hold two files of one name.
    """
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StackError(
                f"the embedded stack already runs in {path.parent} (process {owner}): stop it with Ctrl-C "
                f"there or `kill {owner}`, or set COUPON_EMBEDDED_DIR and the ports for a second one"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def refuse_taken_ports(ports: Mapping[str, int]) -> None:
    """Raise StackError for the first that cannot be used; ``ports`` by the variables that change them."""
    for variable, port in ports.items():
        if (error := port_error(port)) is None:
            continue
        if error.errno in (errno.EACCES, errno.EPERM):
            why = f"needs more rights than this user has; choose one above 1023 with {variable}=..."
        else:
            why = f"is taken by another program; choose another with {variable}=..."
        raise StackError(f"port {port} {why}") from error
