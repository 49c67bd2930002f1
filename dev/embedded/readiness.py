"""Does a server answer, and not just its port?"""

from __future__ import annotations

import http.client
import logging
import socket
from urllib.parse import urlsplit

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dev.embedded.ports import LOOPBACK, accepts_connections

SILENT = logging.getLogger(__name__)
SILENT.disabled = True  # librdkafka would report each refused connection on the terminal


def redis_answers(*, port: int) -> bool:
    """One PING over the wire, so that this package needs no Redis client."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")  # fakeredis knows no inline commands
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def broker_answers(*, port: int) -> bool:
    """The broker lists its topics."""
    if not accepts_connections(host=LOOPBACK, port=port):
        return False
    client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"}, logger=SILENT)
    try:
        client.list_topics(timeout=2)
    except KafkaException:
        return False
    return True


def status_of(url: str) -> int | None:
    """The HTTP status of a GET, or None without an answer. No proxy of the environment is used."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or LOOPBACK, parts.port, timeout=2)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
