"""The gunicorn worker: connections and claims in one loop of greenlets, everything else in threads.

gevent serves the connections. Nothing is monkey-patched: locks, threads, database and Redis
clients are the real ones and block the thread they run in, never the loop. A claim runs in the
loop and waits there for its group (coupons/claims/batching.py); every other request runs in a thread.

A worker that is asked to stop answers what it was asked, says ``Connection: close``, and closes what
is idle. ``run`` is ours for that: gunicorn's swallows what is raised while it waits, and exits at once.
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

#: A client that claims on and on sends its next request within this time, and is told to close. Shorter,
#: and connections are closed under requests that are on their way; longer, and each stop takes so long.
_QUIET_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.25
#: The master counts the graceful timeout from its own SIGTERM on, and then kills. A worker that ends by
#: itself says how many it cuts off, and its producer delivers what it holds.
_BEFORE_THE_MASTER_S: Final = 2.0
#: Of the connections a worker may have. Above that each new one takes the place of the longest idle one:
#: browsers keep theirs after their claim, and those who come later would wait for them to time out.
_CROWDED: Final = 0.9
_LOOKED_AT: Final = 10  #: idle connections, for one that has sent nothing


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
        """Tell an application that has something to do in the loop that it is there."""
        super().load_wsgi()
        if hasattr(self.wsgi, "enter_loop"):
            self.wsgi.enter_loop()
        if hasattr(self.wsgi, "refusal_of"):
            # gunicorn has no setting for it (its issue 993): its own answers are HTML.
            util.write_error = partial(_write_refusal, self.wsgi.refusal_of)

    def run(self) -> None:
        """Serve until ``alive`` is false, then answer what was asked, until the master is about to kill."""
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
            # In the loop's hub: a greenlet is thrown out of its waiting from there alone.
            gevent.get_hub().loop.run_callback(self._close_idle)
            gevent.sleep(_LOOK_EVERY_S)

    def _take_in(self, server: StreamServer) -> None:
        """Whoever has connected already would see a reset. Those beyond what the worker can have do."""
        try:
            while not server.full() and (accepted := server.do_read()):
                server.do_handle(*accepted)
        except OSError as error:  # no file descriptor is left: what is in hand is answered all the same
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
        """One connection, from its first request to its end, in a greenlet of its own."""
        self._connections[gevent.getcurrent()] = client
        if len(self._connections) > _CROWDED * self.worker_connections:
            gevent.get_hub().loop.run_callback(self._close_longest_idle)
        try:
            super().handle(listener, client, addr)
        finally:
            del self._connections[gevent.getcurrent()]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """gunicorn waits within it for a connection's next request."""
        greenlet = gevent.getcurrent()
        waiting = self._idle[greenlet] = _Idle(self.cfg.keepalive)
        try:
            with waiting:
                yield
        finally:
            del self._idle[greenlet]

    def notify(self) -> None:
        """Tell the master that the loop turns. gunicorn's own exits at once when the master was killed."""
        Worker.notify(self)
        if self.ppid != os.getppid():
            self.alive = False

    def _close_idle(self) -> None:
        """Runs in the hub: what is idle here is still idle when its greenlet is thrown out of waiting."""
        for greenlet in list(self._idle):
            self._close_if_quiet(greenlet)

    def _close_longest_idle(self) -> None:
        """Runs in the hub. Who began to wait first is first in the dict."""
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
    """gunicorn's answer to what it cannot read, in the application's words. The connection ends."""
    reply = refusal_of(status)
    headers = [*reply.headers, ("Connection", "close")]
    head = "\r\n".join([f"HTTP/1.1 {reply.status_line}", *(f"{name}: {value}" for name, value in headers)])
    util.write_nonblock(client, head.encode("latin1") + b"\r\n\r\n" + reply.body)


class _Address:
    """What a connection's greenlet asks its listener for: that may be closed when the greenlet begins."""

    def __init__(self, name: Any) -> None:
        self.getsockname = lambda: name


class _Idle(gevent.Timeout):  # type: ignore[misc]
    """Ends quietly after so many seconds, or when it is thrown into the greenlet that waits within it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, False)
        self.since = time.monotonic()


def _has_sent_something(connection: Any) -> bool:
    """Whether there is something to read: the loop has not come to it yet."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
