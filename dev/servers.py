"""What the embedded stack and the services have in common.

Their error, the lock on a folder, the look at ports; how Redis is started, how each server is asked.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.processes import LOOPBACK, port_error, wait_until

SILENT = logging.getLogger(__name__)
SILENT.disabled = True  # librdkafka would report each refused connection on the terminal


class ServiceError(RuntimeError):
    """Something the person at the keyboard has to mend; the message says what and how."""


@contextmanager
def held(lock: Path, *, else_told: str, within_s: float = 0) -> Iterator[None]:
    """Hold the lock file while the block runs. Raises ServiceError, ``else_told`` of the process that has it.

    The kernel drops the lock with its owner, so a killed one leaves nothing to clean up.
    The file stays: removing it would let two owners hold two files of one name.
    """
    with lock.open("a+", encoding="ascii") as file:

        def is_taken() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not wait_until(is_taken, within_s=within_s):
            file.seek(0)
            raise ServiceError(f"process {file.read().strip() or 'unknown'} {else_told}")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def refuse_shared(ports: Mapping[str, int]) -> None:
    """Raise ServiceError for two that are the same; ``ports`` by the variables that change them."""
    names: dict[int, str] = {}
    for name, port in ports.items():
        if (other := names.setdefault(port, name)) != name:
            raise ServiceError(f"{other} and {name} are both {port}: give each a port of its own")


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Raise ServiceError for the first on which no server can listen."""
    for name, port in ports.items():
        if (error := port_error(port)) is None:
            continue
        if error.errno == errno.EADDRINUSE:
            why = "is taken: stop what listens there, or choose another one"
        else:
            why = f"cannot be used ({error.strerror}): choose one above 1023"
        raise ServiceError(f"port {port} of {name} {why}") from error


def redis_options(port: int) -> list[str]:
    """A cache: it keeps nothing on disk, and drops nothing while it runs."""
    options = ["--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"]
    return [*options, "--daemonize", "no", "--maxmemory-policy", "noeviction"]


def redis_told(port: int, *words: str) -> str:
    """The beginning of Redis' answer over the wire; empty when there is none."""
    command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)  # fakeredis knows no inline ones
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(f"*{len(words)}\r\n{command}".encode())
            return connection.recv(4096).decode(errors="replace")
    except OSError:
        return ""


def redis_serves(port: int) -> bool:
    return redis_told(port, "PING").startswith("+PONG")


def kafka_serves(port: int) -> bool:
    """It lists its topics and counts at least one live broker: itself.

    An open port is too early: it opens before the broker has registered with its controller.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:  # a client that was refused would wait before it tries again
        socket.create_connection((LOOPBACK, port), timeout=1).close()
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"}, logger=SILENT)
        return bool(client.list_topics(timeout=3).brokers)
    except (OSError, KafkaException):
        return False
