"""The way of a request: health routes first, then the host, claims, lookups, and Django's pages last."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import unquote

import gevent
from django.conf import settings
from django.db import close_old_connections

from coupons.admin.events import route
from coupons.api import cors, front, hosts, limits, lookups_first, messages
from coupons.api.actuator_routes import ActuatorRoutes
from coupons.api.claims import LONGEST_BODY
from coupons.api.front import ClaimedCoupon
from coupons.api.replies import refusal_reply
from coupons.claims import batching, lookup_threads
from coupons.errors import RefusedError
from coupons.figures import flushing
from coupons.operations import health
from coupons.outcomes import Code
from coupons.tickets import key_ring
from couponsite.kept_by_thread import language_and_time_zone
from runtime import for_life, greenlets, metrics
from runtime.http.reply import Reply
from runtime.http.request import Request
from runtime.http.wsgi import Environ, Pages, StartResponse, WsgiApplication

log = logging.getLogger(__name__)

#: All that the public port serves where there is an operations port: the API, and the files of its page.
_PUBLIC: Final = ("/api/", "/static/drf_spectacular_sidecar/")
_LOOK_AT_FILES_EVERY_S: Final = 1.0  #: deleted metrics files are back after so long at most
#: A thread that computes (a page, a reading of the log) keeps the interpreter for so long each time the loop
#: wants it, which is thousands of times a second. With Python's default, 5 ms, the loop nearly stands still;
#: shorter, and threads switch more than they work.
_SWITCH_S: Final = 0.0005


#: A worker waits so long at its start for the shop's keys. Shorter, and the first claims wait in its place;
#: longer, and a login that is away delays the start.
_KEYS_S: Final = 3.0
_LATER: Final = b"Retry-After: 2\r\n"  #: as where a server is away (coupons/api/errors.py)


class PageServer(Protocol):
    def serve(self, request: Request) -> None: ...


class Doors:
    """The application of the worker's server (runtime/http/server.py). ``pages``: Django.

    Another WSGI server than our worker, as `manage.py runserver`, gets Django alone.
    """

    def __init__(self, pages: WsgiApplication) -> None:
        self._django = pages
        self._actuator = ActuatorRoutes(health.api)
        self._operations_port = settings.CONFIG.api.operations_port
        self._serve_claim: Callable[[Request, ClaimedCoupon], None] = front.serve
        self.pages: PageServer | None = None  #: Django's, in threads

    def enter_loop(self) -> None:
        """From now on requests run in this thread's loop (runtime/gunicorn_worker.py). Call it there."""
        sys.setswitchinterval(_SWITCH_S)
        gc.collect()
        gc.freeze()  # objects of the start live as long as the worker: no collection looks at them again
        key_ring.start(patience_s=_KEYS_S)
        greenlets.start()
        lookup_threads.start()
        batching.start()
        limits.start()
        flushing.start()
        if settings.CONFIG.tracing.is_on:
            self._serve_claim = _traced()
        self.pages = Pages(
            self._django,
            threads=settings.CONFIG.api.threads,
            refusal=self.refusal,
            going_on=close_old_connections,  # as Django does when a request begins
            keeping=language_and_time_zone,
        )
        for_life.spawn(_keep_metrics_files)

    def serve(self, request: Request) -> None:
        """Answer, now or later. In the loop's hub: a claim goes on here, others in greenlets or threads."""
        if cors.IS_ON:
            request.answer_fields = cors.fields_for(request)
        claimed = front.claimed_in(request)
        if claimed is None:
            self._serve_another(request)
        elif hosts.is_ours(request.host):
            self._serve_claim(request, claimed)
        else:
            request.answer(_host_refusal(request))

    def longest_body(self, request: Request) -> int:
        """Bytes. One more than Django takes, so that Django refuses it in its way."""
        is_claim = front.claimed_in(request) is not None
        return LONGEST_BODY if is_claim else settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1

    def refusal(self, status: int, headers: Mapping[bytes, bytes]) -> Reply:
        """The answer to a client whose bytes cannot be read: in its language, and to its page, if it said."""
        told = {name: value.decode("latin1") for name, value in headers.items()}
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        refused = RefusedError(Code.INTERNAL_ERROR if is_ours else Code.INVALID_REQUEST, detail="")
        reply = refusal_reply(refused, messages.language_for(told.get(b"accept-language")))
        reply.status = HTTPStatus(status)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            reply.fields += _LATER
        reply.fields += cors.fields_for_origin(told.get(b"origin", ""), "GET")
        return reply

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self._django(environ, start_response)

    def _is_hidden(self, request: Request) -> bool:
        """Whether the request came to the public port for what the operations port has."""
        if not self._operations_port or request.connection.address[1] == self._operations_port:
            return False
        return not unquote(request.path).startswith(_PUBLIC)

    def _serve_another(self, request: Request) -> None:
        if self._is_hidden(request):
            request.answer(refusal_reply(RefusedError(Code.NOT_FOUND), _language(request)))
        elif self._actuator.takes(request):
            _in_greenlet(request, self._actuator.reply_to)
        elif not hosts.is_ours(request.host):
            request.answer(_host_refusal(request))
        elif cors.IS_ON and (preflight := cors.preflight_reply(request)):
            request.answer(preflight)
        elif not limits.IS_ON or not limits.is_counted(request):
            self._serve_page(request)
        elif limit := limits.of_request(request):
            limit.take(lambda: self._serve_counted(request))

    def _serve_counted(self, request: Request) -> None:
        """In the hub, among others that were counted with it: an error is this request's alone."""
        try:
            self._serve_page(request)
        except Exception:
            log.exception("%s %r cannot be served", request.method, request.target)
            request.answer(self.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, {}))

    def _serve_page(self, request: Request) -> None:
        """Whatever is no claim, within the limits."""
        if lookup := lookups_first.lookup_in(request):
            _in_greenlet(request, lambda request: lookups_first.reply_to(request, lookup))
        elif (event := route.asked_for(request)) is not None:
            route.serve(request, event)
        elif front.is_claim_in_other_letters(request):
            request.answer(refusal_reply(RefusedError(Code.NOT_FOUND), _language(request)))
        elif request.is_too_long:
            refused = RefusedError(
                Code.INVALID_REQUEST, detail=messages.body_too_long(self.longest_body(request))
            )
            request.answer(refusal_reply(refused, _language(request)))
        else:
            assert self.pages is not None, "the loop was entered"
            if cors.IS_ON:
                cors.leave_to_django(request)
            self.pages.serve(request)


def _traced() -> Callable[[Request, ClaimedCoupon], None]:
    """What serves claims where they are traced. Without tracing its library is not even imported."""
    from coupons.api import traced
    from coupons.claims import tracing

    return traced.serving(tracing.start())


def _in_greenlet(request: Request, reply_to: Callable[[Request], Reply]) -> None:
    gevent.spawn(lambda: request.answer(reply_to(request)))


def _host_refusal(request: Request) -> Reply:
    hosts.refusals.note(request.host)
    refused = RefusedError(Code.INVALID_REQUEST, detail=messages.host_expected(hosts.shown(request.host)))
    return refusal_reply(refused, _language(request))


def _language(request: Request) -> messages.Language:
    return messages.language_for(request.header(b"accept-language"))


def _keep_metrics_files() -> None:
    while True:
        gevent.sleep(_LOOK_AT_FILES_EVERY_S)
        metrics.restore()
