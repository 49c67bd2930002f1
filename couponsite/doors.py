"""WSGI: the way of a request: health routes first, then the host, claims, lookups, and pages last."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import gevent
from django.conf import settings

from coupons.api import hosts, messages
from coupons.api.actuator_routes import PREFIX, ActuatorRoutes
from coupons.api.front import ClaimsFirst
from coupons.api.lookups_first import LookupsFirst
from coupons.api.replies import Reply, refusal_reply
from coupons.claims import batching, lookup_threads
from coupons.errors import RefusedError
from coupons.operations import health
from coupons.outcomes import Code
from runtime import greenlets, metrics, request_body
from runtime.in_threads import Application, Environ, InThreads, StartResponse

_LOOK_AT_FILES_EVERY_S: Final = 1.0  #: deleted metrics files are back after so long at most
#: A thread that computes (a page, a reading of the log) keeps the interpreter for so long each time the loop
#: wants it, which is thousands of times a second. With Python's default, 5 ms, the loop nearly stands still;
#: shorter, and threads switch more than they work.
_SWITCH_S: Final = 0.0005


class Doors:
    """The application that gunicorn serves. ``pages``: Django, for all requests that no other door takes.

    Called in the loop, in the connection's greenlet: only pages run in threads, so nothing else may block.
    """

    def __init__(self, pages: Application) -> None:
        self._pages = pages
        self._actuator = ActuatorRoutes(health.api)
        self._api = ClaimsFirst(LookupsFirst(self._page))

    def enter_loop(self) -> None:
        """From now on requests run in this thread's loop (runtime/gunicorn_worker.py). Call it there."""
        sys.setswitchinterval(_SWITCH_S)
        gc.collect()
        gc.freeze()  # objects of the start live as long as the worker: no collection looks at them again
        greenlets.start()
        lookup_threads.start()
        batching.start()
        self._pages = InThreads(self._pages, threads=settings.CONFIG.api.threads)
        greenlets.spawn_for_life(_keep_metrics_files)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            request_body.read(environ)
            return self._actuator(environ, start_response)
        if not hosts.is_ours(host := hosts.named_in(environ)):
            return _refuse_host(host, environ, start_response)
        return self._api(environ, start_response)

    def refusal_of(self, status: int) -> Reply:
        """The answer where gunicorn refuses with this status, before there is a request for the application.

        In Korean, because the client's language is not known. gunicorn answers an unknown transfer coding
        with 501; for us it is the client's mistake, like every request that gunicorn cannot read.
        """
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return refusal_reply(RefusedError(Code.INTERNAL_ERROR), "ko")
        reply = refusal_reply(RefusedError(Code.INVALID_REQUEST, detail=""), "ko")
        return replace(reply, status=HTTPStatus(status if status < 500 else HTTPStatus.BAD_REQUEST))

    def _page(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._pages(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return answer
        # Django leaves the body to the server, and gunicorn warns of each: any client could fill the log.
        if hasattr(answer, "close"):
            answer.close()
        return []


def _refuse_host(host: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    request_body.read(environ)
    hosts.refusals.note(host)
    refused = RefusedError(Code.INVALID_REQUEST, detail=messages.host_expected(hosts.shown(host)))
    reply = refusal_reply(refused, messages.language_for(environ.get("HTTP_ACCEPT_LANGUAGE")))
    start_response(reply.status_line, reply.headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]


def _keep_metrics_files() -> None:
    while True:
        gevent.sleep(_LOOK_AT_FILES_EVERY_S)
        metrics.restore()
