"""Ports on loopback: find a free one, and refuse a taken one before anything starts."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from dev.embedded.errors import PortTaken

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A port nobody listens on now, chosen by the kernel."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def accepts_connections(*, host: str, port: int) -> bool:
    """Does somebody listen there?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def refuse_taken_ports(ports: Mapping[str, int]) -> None:
    """Raise PortTaken for the first port that cannot be used.

    ``ports`` maps the variable that changes a port to the port.
    """
    for variable, port in ports.items():
        if accepts_connections(host=LOOPBACK, port=port):
            raise PortTaken(f"port {port} is taken by another program; choose another with {variable}=...")
        with socket.socket() as probe:
            # A port that a stopped server left in TIME_WAIT is free: the servers say so too.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise PortTaken(_why(variable=variable, port=port, error=error)) from error


def _why(*, variable: str, port: int, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} needs more rights than this user has; choose one above 1023 with {variable}=..."
    return f"port {port} is taken by another program; choose another with {variable}=..."
