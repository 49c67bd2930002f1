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
        super().load_wsgi()
        # Not before: gunicorn imports this module in its main process, where Django is not set up.
        from django.conf import settings

        from coupons import gathering, loop
        from coupons.api.claims_first import ClaimsFirst
        from couponsite.in_threads import InThreads

        loop.start()
        gathering.start()
        pages = InThreads(self.wsgi.others, threads=settings.CONFIG.api.threads)
        self.wsgi = ClaimsFirst(pages)
