"""The gunicorn worker: connections and claims in one loop of greenlets, everything else in threads.

gevent serves the connections. Nothing is monkey-patched: locks, threads, database and Redis clients block
the thread that they run in, so they must not run in the loop. A claim runs in the loop and waits there for
its batch (coupons/claims/batching.py), and so do the routes that wait for the log or for health checks; every
other request runs in a thread.

A worker that is asked to stop answers the requests that it has, with ``Connection: close``, and closes idle
connections. ``run`` is ours for that purpose: gunicorn's swallows errors while it waits, and exits at once.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any, Final

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.workers.base import Worker
from gunicorn.workers.ggevent import GeventWorker

#: A connection is idle after so long without a request; a busy client sends its next one sooner, and is
#: answered ``Connection: close``. Shorter, and connections are closed under requests that are on their way;
#: longer, and each stop takes longer.
_QUIET_S: Final = 1.0
#: How late the worker notices that it should stop, and how often it shows the master that it lives.
_LOOK_EVERY_S: Final = 0.25
#: A worker ends so long before the master kills it, which counts the graceful timeout from its own SIGTERM.
#: Shorter, and the worker is killed before it logs how many connections it cuts off and its producer delivers
#: its records; longer, and requests get less time.
_BEFORE_THE_MASTER_S: Final = 2.0
#: Of the connections that a worker may have. Above that share each new connection takes the place of the
#: longest idle one: browsers keep theirs after a claim, and later clients would wait until those time out.
_CROWDED: Final = 0.9
_LOOKED_AT: Final = 10  #: so many idle connections are looked at, for one that has sent nothing


class LoopWorker(GeventWorker):  # type: ignore[misc]
    sockets: list[Any]
    worker_connections: int
    wsgi: Any
    alive: bool
    ppid: int

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._idle: dict[gevent.Greenlet, _Idle] = {}
        self._connections: dict[gevent.Greenlet, Any] = {}

    def patch(self) -> None:
        """As gunicorn's own, without the monkey-patching."""
        self.sockets = [
            socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets
        ]

    def load_wsgi(self) -> None:
        """Load the application, and call its ``enter_loop`` if it has work to do in the loop."""
        super().load_wsgi()
        if hasattr(self.wsgi, "enter_loop"):
            self.wsgi.enter_loop()
        if hasattr(self.wsgi, "refusal_of"):
            # gunicorn's own refusals are HTML, and it has no setting for them (its issue 993).
            util.write_error = partial(_write_refusal, self.wsgi.refusal_of)

    def run(self) -> None:
        """Serve until ``alive`` is false; then answer requests at hand, until the master is about to kill."""
        servers = [self._serving(each) for each in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(_LOOK_EVERY_S)
        for server in servers:
            self._take_in(server)
            server.close()
        until = time.monotonic() + self.cfg.graceful_timeout - _BEFORE_THE_MASTER_S
        while any(len(server.pool) for server in servers):
            if time.monotonic() > until:
                self.log.warning("%d connections are cut off", sum(len(each.pool) for each in servers))
                return
            self.notify()
            # In the loop's hub: only the hub may throw something into a greenlet that waits.
            gevent.get_hub().loop.run_callback(self._close_idle)
            gevent.sleep(_LOOK_EVERY_S)

    def _take_in(self, server: StreamServer) -> None:
        """Accept waiting connections, which would see a reset; those beyond the worker's limit do see one."""
        try:
            while not server.full() and (accepted := server.do_read()):
                server.do_handle(*accepted)
        except OSError as error:  # no file descriptor is left: accepted requests are answered all the same
            self.log.warning("connections that wait are not accepted: %s", error.strerror)

    def _serving(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        handle = partial(self.handle, _Address(listener.getsockname()))
        server = StreamServer(listener, handle=handle, spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1  # the other workers take some
        server.start()
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first request to its end, in a greenlet of its own."""
        self._connections[gevent.getcurrent()] = client
        if len(self._connections) > _CROWDED * self.worker_connections:
            gevent.get_hub().loop.run_callback(self._close_longest_idle)
        try:
            super().handle(listener, client, addr)
        finally:
            del self._connections[gevent.getcurrent()]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """gunicorn waits in this context for a connection's next request, in the connection's greenlet."""
        greenlet = gevent.getcurrent()
        waiting = self._idle[greenlet] = _Idle(self.cfg.keepalive)
        try:
            with waiting:
                yield
        finally:
            del self._idle[greenlet]

    def notify(self) -> None:
        """Show the master that the loop runs. gunicorn's own method exits at once if the master is gone."""
        Worker.notify(self)
        if self.ppid != os.getppid():
            self.alive = False

    def _close_idle(self) -> None:
        """Runs in the hub, so that no connection stops being idle between the look and its close."""
        for greenlet in list(self._idle):
            self._close_if_quiet(greenlet)

    def _close_longest_idle(self) -> None:
        """Runs in the hub. The dict is ordered: the connection that has waited longest comes first."""
        for greenlet in list(islice(self._idle, _LOOKED_AT)):
            if self._close_if_quiet(greenlet):
                return

    def _close_if_quiet(self, greenlet: gevent.Greenlet) -> bool:
        waiting = self._idle[greenlet]
        is_quiet = time.monotonic() - waiting.since > _QUIET_S
        if is_quiet and not _has_sent_something(self._connections[greenlet]):
            greenlet.throw(waiting)
            return True
        return False

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C in a terminal reaches the workers too: they drain, as with SIGTERM."""
        if sig == signal.SIGINT:
            self.handle_exit(sig, frame)
        else:
            super().handle_quit(sig, frame)


def _write_refusal(refusal_of: Callable[[int], Any], client: Any, status: int, *told: str) -> None:
    """Answer a request that gunicorn cannot read with the application's refusal. The connection ends.

    Runs in the connection's greenlet: it must not wait.
    """
    reply = refusal_of(status)
    headers = [*reply.headers, ("Connection", "close")]
    head = "\r\n".join([f"HTTP/1.1 {reply.status_line}", *(f"{name}: {value}" for name, value in headers)])
    util.write_nonblock(client, head.encode("latin1") + b"\r\n\r\n" + reply.body)


class _Address:
    """Gives a connection's greenlet its listener's name, also when the listener is closed by then."""

    def __init__(self, name: Any) -> None:
        self.getsockname = lambda: name


class _Idle(gevent.Timeout):  # type: ignore[misc]
    """Ends quietly after so many seconds, or when it is thrown into the greenlet that waits within it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, False)
        self.since = time.monotonic()


def _has_sent_something(connection: Any) -> bool:
    """Whether the connection has bytes that the loop has not read yet."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
