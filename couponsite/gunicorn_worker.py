"""The gunicorn worker: connections and claims in one loop of greenlets, everything else in threads.

gevent serves the connections. Nothing is monkey-patched: locks, threads, database and Redis
clients are the real ones and block the thread they run in, never the loop. A claim runs in the
loop and waits there for its group (coupons/gathering.py); every other request runs in a thread.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

import gevent
from gevent import socket
from gunicorn.workers.ggevent import GeventWorker


class LoopWorker(GeventWorker):  # type: ignore[misc]
    sockets: list[Any]
    wsgi: Any
    alive: bool

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._idle: dict[_Idle, gevent.Greenlet] = {}

    def patch(self) -> None:
        """As gunicorn's own, without the monkey-patching."""
        self.sockets = [
            socket.socket(each.FAMILY, socket.SOCK_STREAM, fileno=each.sock.detach()) for each in self.sockets
        ]

    def load_wsgi(self) -> None:
        """Tell an application that has something to do in the loop that it is there (ClaimsFirst)."""
        super().load_wsgi()
        if hasattr(self.wsgi, "enter_loop"):
            self.wsgi.enter_loop()

    def timeout_ctx(self) -> _Idle:
        """gunicorn waits within it for a connection's next request."""
        return _Idle(self._idle, self.cfg.keepalive)

    def notify(self) -> None:
        """Called every second, also while a stop waits for connections; idle ones are closed then."""
        super().notify()
        if not self.alive:
            for waiting, greenlet in list(self._idle.items()):
                gevent.kill(greenlet, waiting, block=False)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C in a terminal reaches the workers too: they drain, as with SIGTERM."""
        if sig == signal.SIGINT:
            self.handle_exit(sig, frame)
        else:
            super().handle_quit(sig, frame)


class _Idle(gevent.Timeout):  # type: ignore[misc]
    """Ends quietly after so many seconds, or when it is thrown into the greenlet that waits within it."""

    def __init__(self, idle: dict[_Idle, gevent.Greenlet], seconds: float) -> None:
        super().__init__(seconds, False)
        self._of = idle

    def __enter__(self) -> _Idle:
        super().__enter__()
        self._of[self] = gevent.getcurrent()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._of.pop(self, None)
        return bool(super().__exit__(kind, error, trace))
