"""What the embedded stack and the services have in common: how Redis is started, how each server is asked."""

from __future__ import annotations

import logging
import socket

from dev.processes import LOOPBACK

SILENT = logging.getLogger(__name__)
SILENT.disabled = True  # librdkafka would report each refused connection on the terminal


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
