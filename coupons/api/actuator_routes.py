"""Health, info and metrics, ahead of everything else, on the API's port and the consumer's.

These routes accept every Host header, because probes come with the pod's address. They run in a loop of
greenlets, where a check that hangs holds up no other request; a thread of its own reads the metrics.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from gevent.threadpool import ThreadPool
from rest_framework.exceptions import MethodNotAllowed

from coupons.api import messages
from coupons.api.replies import refusal_reply
from coupons.errors import RefusedError
from coupons.outcomes import Code
from runtime import actuator, metrics
from runtime.actuator import Actuator
from runtime.http.reply import Reply
from runtime.http.request import Request

PREFIX: Final = "/actuator"
_METHODS: Final = ("GET", "HEAD")
Route = Callable[[], tuple[int, dict[str, Any]]]


class ActuatorRoutes:
    """Answers every path below /actuator: 404 for unknown ones."""

    def __init__(self, health: Actuator) -> None:
        self._routes: dict[str, Route] = {
            f"{PREFIX}/health": health.health,
            f"{PREFIX}/health/liveness": health.live,
            f"{PREFIX}/health/readiness": health.readiness,
            f"{PREFIX}/info": lambda: (HTTPStatus.OK, actuator.info()),
        }

    def takes(self, request: Request) -> bool:
        path = unquote(request.path)
        return path == PREFIX or path.startswith(f"{PREFIX}/")

    def reply_to(self, request: Request) -> Reply:
        """Called in a loop by the request's greenlet, which sleeps while checks run: it must not block."""
        try:
            return self._reply(unquote(request.path).rstrip("/"), request.method)
        except Exception as error:  # noqa: BLE001 - the edge: every error is answered as JSON, and logged
            language = messages.language_for(request.header(b"accept-language"))
            return refusal_reply(error, language, allowed=", ".join(_METHODS))

    def _reply(self, path: str, method: str) -> Reply:
        is_metrics = path == f"{PREFIX}/prometheus"
        if not is_metrics and path not in self._routes:
            raise RefusedError(Code.NOT_FOUND)
        if method not in _METHODS:
            raise MethodNotAllowed(method)
        if is_metrics:
            return _reply(HTTPStatus.OK, metrics.CONTENT_TYPE, self._reading.apply(metrics.exposition))
        status, body = self._routes[path]()
        return _reply(HTTPStatus(status), "application/json", json.dumps(body).encode())

    @cached_property
    def _reading(self) -> ThreadPool:
        """The thread that reads the metrics. Made by the first request, in the loop that it belongs to."""
        return ThreadPool(1)


def _reply(status: HTTPStatus, content_type: str, body: bytes) -> Reply:
    return Reply.of(status, body, [("Content-Type", content_type)])
