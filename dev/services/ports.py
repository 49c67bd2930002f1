"""Is a port of loopback free?"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from dev.services.errors import ServiceError
from dev.services.stack import flag, variable

LOOPBACK = "127.0.0.1"


def require_free(port: int, *, name: str, base_port: int) -> None:
    """Raise when the server cannot listen there, naming the port and what changes it.

    ``base_port`` is the one that the flag sets; Kafka's controller has the next one.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection that is only waiting out its end is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            origin = "" if port == base_port else f" ({name} port {base_port} plus {port - base_port})"
            raise ServiceError(
                f"port {port}{origin} {reason}, so {name} cannot start: "
                f"stop what listens there, or choose another with {flag(name)} or {variable(name)}"
            ) from error


def require_distinct(ports: Mapping[str, tuple[int, ...]]) -> None:
    """Raise when two servers of this stack would use one port."""
    owners: dict[int, str] = {}
    for name, numbers in ports.items():
        for number in numbers:
            if number in owners:
                raise ServiceError(
                    f"port {number} is asked for by {owners[number]} and {name}: "
                    f"choose another with {flag(name)} or {variable(name)}"
                )
            owners[number] = name
