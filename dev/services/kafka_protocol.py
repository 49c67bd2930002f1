"""One question in Kafka's own protocol, over a plain socket: does the broker serve metadata?

An open port is too early: it opens before the broker has registered with its controller.
"""

from __future__ import annotations

import socket
import struct

METADATA, VERSION, CORRELATION = 3, 1, 20_240
CLIENT = b"dev.services"
ANSWER_WAIT_S = 3.0
#: Header (key, version, correlation, client id), then an empty list: no topics, only the brokers.
REQUEST = struct.pack(f">hhih{len(CLIENT)}si", METADATA, VERSION, CORRELATION, len(CLIENT), CLIENT, 0)
LARGEST_ANSWER = 65_536


def serves(*, host: str, port: int) -> bool:
    """Whether the broker answers and counts at least one live broker: itself."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_WAIT_S) as connection:
            connection.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
            (size,) = struct.unpack(">i", _receive(connection, 4))
            if not 8 <= size <= LARGEST_ANSWER:
                return False
            correlation, brokers = struct.unpack_from(">ii", _receive(connection, size))
    except OSError:
        return False
    return bool(correlation == CORRELATION and brokers >= 1)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data
