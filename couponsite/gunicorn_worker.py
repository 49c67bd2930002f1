"""The gunicorn worker: connections and claims in one loop of greenlets, everything else in threads.

gevent serves the connections. Nothing is monkey-patched: locks, threads, database and Redis
clients are the real ones and block the thread they run in, never the loop. A claim runs in the
loop and waits there for its group (coupons/gathering.py); every other request runs in a thread.
"""

from __future__ import annotations

from typing import Any

from gevent import socket
from gunicorn.workers.ggevent import GeventWorker


class LoopWorker(GeventWorker):  # type: ignore[misc]
    sockets: list[Any]
    wsgi: Any

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
