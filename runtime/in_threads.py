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
    """A WSGI application that runs another in native threads."""

    def __init__(self, application: Application, *, threads: int) -> None:
        self._application = application
        self._threads = ThreadPool(threads)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # The connection is the loop's own: a thread must find the body read.
        environ["wsgi.input"] = io.BytesIO(request_body.read(environ))
        answer: Iterable[bytes] = self._threads.apply(self._application, (environ, start_response))
        return answer
