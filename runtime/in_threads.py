"""Runs the pages and the slower routes of a worker in threads, beside the loop that answers claims."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

from gevent.threadpool import ThreadPool

from runtime import request_body

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class InThreads:
    """A WSGI application that runs another one in native threads, while the connection's greenlet sleeps.

    Called in the loop. The inner application may block its thread; it must not touch greenlets or the
    connection.
    """

    def __init__(self, application: Application, *, threads: int) -> None:
        self._application = application
        self._threads = ThreadPool(threads)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Only the loop may read from the connection, so the body is read before the thread begins.
        environ["wsgi.input"] = io.BytesIO(request_body.read(environ))
        answer: Iterable[bytes] = self._threads.apply(self._application, (environ, start_response))
        return answer
