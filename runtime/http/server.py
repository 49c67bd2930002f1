"""Listens, ends what takes too long, makes room for those who come, and drains."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Protocol

import gevent

from runtime.http.connection import Connection
from runtime.http.reply import Reply
from runtime.http.request import Request

log = logging.getLogger(__name__)

#: A connection is idle after so long without a request; a busy client sends its next one sooner, and is
#: answered ``Connection: close``. Shorter, and connections are closed under requests that are on their way;
#: longer, and each stop takes longer.
QUIET_S: Final = 1.0
#: Of the connections that a server may have. Above that share each new connection takes the place of the
#: longest idle one: browsers keep theirs after a claim, and later clients would wait until those time out.
_CROWDED: Final = 0.9
_LOOKED_AT: Final = 10  #: so many idle connections are looked at, for one that has sent nothing
_READABLE: Final = 1  # libev's EV_READ

Address = tuple[str, int]


class Application(Protocol):
    """What answers requests. Called in the loop's hub: nothing here may wait or raise."""

    def serve(self, request: Request) -> None:
        """End in ``request.answer``, now or later, in the loop."""

    def longest_body(self, request: Request) -> int:
        """Bytes that the body of this request, whose head is read, may have."""

    def refusal(self, status: int, headers: Mapping[bytes, bytes]) -> Reply:
        """The answer to a client whose bytes cannot be read. ``headers``: as many as were read of them."""


class Server:
    """Serves the listeners in the loop of the thread that makes it.

    ``sweep`` must be called a few times a second, in that loop. ``accept_at_once``: of connections that wait
    together; with several processes on one listener 1, so that each takes some. ``trusts``: whether the peer
    at this address is a proxy of ours.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        application: Application,
        *,
        most_connections: int,
        keepalive_s: float,
        trusts: Callable[[Any], bool] = lambda peer: False,
        accept_at_once: int = 100,
    ) -> None:
        self.application = application
        self.keepalive_s = keepalive_s
        self.trusts = trusts
        self.loop: Any = gevent.get_hub().loop
        self.idle: dict[Connection, None] = {}  #: the one that has waited longest comes first
        self.answered = 0
        self.is_stopping = False
        self._most_connections = most_connections
        self._accept_at_once = accept_at_once
        self._connections: set[Connection] = set()
        self._listeners = list(listeners)
        self._addresses = {each: _host_and_port(each.getsockname()) for each in listeners}
        self._accepting = []
        for listener in listeners:
            listener.setblocking(False)
            self._accepting.append(self.loop.io(listener.fileno(), _READABLE))
        self._listen()

    def __len__(self) -> int:
        """Connections."""
        return len(self._connections)

    def sweep(self) -> None:
        """End what took too long; while stopping, also what is idle. Not in the hub: in a greenlet."""
        now = time.monotonic()
        for connection in [each for each in self._connections if each.deadline < now]:
            connection.expire()
        if self.is_stopping:
            for connection in list(self.idle):
                if now - connection.idle_since > QUIET_S:
                    connection.close_if_quiet()
        else:
            self._listen()

    def stop(self) -> None:
        """Accept who waits, as many as fit: they would see a reset. Then listen no more."""
        for listener in self._listeners:
            self._accept(listener, at_once=self._most_connections)
        self.is_stopping = True
        for watcher in self._accepting:
            watcher.close()
        for listener in self._listeners:
            listener.close()

    def close(self) -> None:
        """Cut off all connections."""
        for connection in list(self._connections):
            connection.close()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.idle.pop(connection, None)

    def _listen(self) -> None:
        if len(self._connections) < self._most_connections:
            for watcher, listener in zip(self._accepting, self._listeners, strict=True):
                if not watcher.active:
                    watcher.start(self._accept, listener)

    def _accept(self, listener: socket.socket, at_once: int | None = None) -> None:
        for _ in range(at_once or self._accept_at_once):
            if len(self._connections) >= self._most_connections:
                self._rest()
                return
            try:
                client, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptor is left: the next sweep tries again
                log.warning("connections that wait are not accepted: %s", error.strerror)
                self._rest()
                return
            self._begin(client, self._addresses[listener], peer)

    def _rest(self) -> None:
        for watcher in self._accepting:
            watcher.stop()

    def _begin(self, client: socket.socket, address: Address, peer: Any) -> None:
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(Connection(self, client, address, _host_and_port(peer)))
        if len(self._connections) > _CROWDED * self._most_connections:
            for connection in list(islice(self.idle, _LOOKED_AT)):
                if time.monotonic() - connection.idle_since > QUIET_S and connection.close_if_quiet():
                    return


def _host_and_port(name: Any) -> Address:
    """Of a socket's name, which is a path for a Unix socket, and longer for IPv6."""
    return (name[0], name[1]) if isinstance(name, tuple) else ("localhost", 0)
