"""Listens, ends what takes too long, makes room for those who come, and drains."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any, Final, Protocol

import gevent
from gevent.event import Event

from runtime import for_life
from runtime.http.connection import Connection
from runtime.http.reply import Reply
from runtime.http.request import Request
from runtime.http.shares import Share
from runtime.short_sleep import ShortSleep

log = logging.getLogger(__name__)

#: A connection is idle after so long without a request; a busy client sends its next one sooner, and is
#: answered ``Connection: close``. Shorter, and connections are closed under requests that are on their way;
#: longer, and each stop takes longer.
QUIET_S: Final = 1.0
#: Of the connections that a server may have. Above that share each new connection takes the place of the
#: longest idle one: browsers keep theirs after a claim, and later clients would wait until those time out.
_CROWDED: Final = 0.9
_ACCEPTED_AT_ONCE: Final = 100  #: of connections that wait together, where nobody else accepts them
#: A process that has more than its share leaves a connection to the others for so long; then it takes it.
#: Shorter, and a sleeping one does not wake in time; longer, and people wait for one that stands still.
_LEFT_FOR_S: Final = 0.0005
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

    ``sweep`` must be called a few times a second, in that loop. ``share``: where other processes accept on
    the same listeners, so that each has about as many connections. ``trusts``: whether the peer at this
    address is a proxy of ours.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        application: Application,
        *,
        most_connections: int,
        keepalive_s: float,
        trusts: Callable[[Any], bool] = lambda peer: False,
        share: Share | None = None,
    ) -> None:
        self.application = application
        self.keepalive_s = keepalive_s
        self.trusts = trusts
        self.loop: Any = gevent.get_hub().loop
        self.idle: dict[Connection, None] = {}  #: the one that has waited longest comes first
        self.answered = 0
        self.is_stopping = False
        self._most_connections = most_connections
        self._share = share
        self._leaves_one = Event()
        self._is_short = False  # of descriptors
        self._connections: set[Connection] = set()
        self._listeners = list(listeners)
        self._addresses = {each: _host_and_port(each.getsockname()) for each in listeners}
        self._accepting = []
        for listener in listeners:
            listener.setblocking(False)
            self._accepting.append(self.loop.io(listener.fileno(), _READABLE))
        self._listen()
        if share is not None:
            share.show(0)
            for_life.spawn(self._take_what_was_left)

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
            if self._share is not None:
                self._show(self._share)

    def stop(self) -> None:
        """Accept who waits, as many as fit: they would see a reset. Then listen no more."""
        for listener in self._listeners:
            self._accept(listener, at_once=self._most_connections)
        self.is_stopping = True
        self._leaves_one.set()
        if self._share is not None:
            self._share.leave()
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
        self._count()

    def _listen(self) -> None:
        if len(self._connections) < self._most_connections:
            for watcher, listener in zip(self._accepting, self._listeners, strict=True):
                if not watcher.active:
                    watcher.start(self._take, listener)

    def _take(self, listener: socket.socket) -> None:
        """In the hub, when somebody waits there."""
        if self._share is None:
            self._accept(listener, at_once=_ACCEPTED_AT_ONCE)
        elif self._share.is_ahead(len(self._connections)):
            self._rest()
            self._leaves_one.set()
        else:
            self._accept(listener, at_once=1)

    def _take_what_was_left(self) -> None:
        """After a while accept what the others did not take; more at once, the longer they take nothing."""
        with closing(ShortSleep()) as sleep:
            at_once = 1
            while True:
                self._leaves_one.wait()
                sleep(_LEFT_FOR_S)
                self._leaves_one.clear()
                if self.is_stopping:
                    return
                taken = sum(self._accept(each, at_once=at_once) for each in self._listeners)
                at_once = min(2 * at_once, _ACCEPTED_AT_ONCE) if taken >= at_once else 1
                if not self._is_short:
                    self._listen()

    def _accept(self, listener: socket.socket, *, at_once: int) -> int:
        """Returns how many were accepted. If there is no room for more, the listeners rest until a sweep."""
        for accepted in range(at_once):
            if len(self._connections) >= self._most_connections:
                self._rest()
                return accepted
            try:
                client, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return accepted
            except OSError as error:  # no file descriptor is left: the next sweep tries again
                log.warning("connections that wait are not accepted: %s", error.strerror)
                self._is_short = True
                self._rest()
                return accepted
            self._is_short = False
            self._begin(client, self._addresses[listener], peer)
        return at_once

    def _show(self, share: Share) -> None:
        """Not while this process can accept nobody, however few it has: others would wait for it."""
        if self._is_short:
            share.leave()
        else:
            share.show(len(self._connections))

    def _count(self) -> None:
        if self._share is not None:
            self._share.count(len(self._connections))

    def _rest(self) -> None:
        for watcher in self._accepting:
            watcher.stop()

    def _begin(self, client: socket.socket, address: Address, peer: Any) -> None:
        client.setblocking(False)
        if client.family != socket.AF_UNIX:
            with suppress(OSError):  # macOS says so of one that was reset meanwhile; reading will tell
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(Connection(self, client, address, _host_and_port(peer)))
        self._count()
        if len(self._connections) > _CROWDED * self._most_connections:
            for connection in list(islice(self.idle, _LOOKED_AT)):
                if time.monotonic() - connection.idle_since > QUIET_S and connection.close_if_quiet():
                    return


def _host_and_port(name: Any) -> Address:
    """Of a socket's name, which is a path for a Unix socket, and longer for IPv6."""
    return (name[0], name[1]) if isinstance(name, tuple) else ("localhost", 0)
