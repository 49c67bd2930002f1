"""How many files a worker may open, and so how many clients it has. No Django: gunicorn's master asks."""

from __future__ import annotations

import resource
from typing import Final

#: As many as a worker's connections and its own files need. More would only make room for a leak to grow.
_MOST: Final = 65_536
#: A worker's connections at most: a browser keeps its own for a while after its claim.
MOST_CONNECTIONS: Final = 10_000
#: Clients that wait to be accepted. Fewer, and a crowd's first second is refused; the kernel's somaxconn
#: bounds it.
BACKLOG: Final = 2048
_FEWEST_CONNECTIONS: Final = 10
_OWN: Final = 200  #: files of a worker's own: connections to servers, logs, metrics, modules


def allowed() -> int:
    """How many this process may have open, once it has raised its own limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft, _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST))


def allow() -> int:
    """Raise this process's limit, and that of its children to come. Returns ``allowed``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = allowed()
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files


def connections(files: int, *, threads: int) -> int:
    """A worker's connections where it may open so many files. ``threads``: of its pages, a few files each."""
    return max(_FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, files - _OWN - 2 * threads))
