"""WSGI: a claim goes ahead of what only pages and sessions need.

A claim needs no session, cookie, CSRF token or content negotiation, and a million of them come in
one second. What Django's handler and middleware do for it all the same is done here: the host is
checked, the language chosen, an error told as JSON. docs/performance.md has what that pays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils import translation

from coupons import gathering, identity, loop
from coupons.api import claims, messages
from coupons.api.claims import Reply
from coupons.api.messages import Language
from coupons.errors import RefusedError
from coupons.events import MAX_ID
from coupons.outcomes import Code
from couponsite import request_body
from couponsite.in_threads import Application, Environ, InThreads, StartResponse

_CLAIM: Final = re.compile(r"/api/coupons/([0-9]{1,19})/issue")
_TOKEN: Final = "HTTP_" + identity.HEADER.upper().replace("-", "_")


class ClaimsFirst:
    """Answers claims, and hands everything else to the other application."""

    def __init__(self, others: Application) -> None:
        self._others = others

    def enter_loop(self) -> None:
        """From now on called in this thread's loop (couponsite/gunicorn_worker.py): nothing may block it."""
        loop.start()
        gathering.start()
        self._others = InThreads(
            self._others,
            threads=settings.CONFIG.api.threads,
            # All threads may wait for a database that hangs: that is no reason to restart the process.
            never_waiting={"/actuator/health/liveness"},
        )

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        match = _CLAIM.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if match is None or not 1 <= int(match[1]) <= MAX_ID:
            return self._others(environ, start_response)
        reply = _reply(environ, int(match[1]))
        start_response(f"{reply.status.value} {reply.status.phrase}", reply.headers)
        return [reply.body]


def _reply(environ: Environ, coupon_id: int) -> Reply:
    language = _language(environ.get("HTTP_ACCEPT_LANGUAGE"))
    body = request_body.read(environ)
    try:
        if not _is_our_host(environ.get("HTTP_HOST", "")):
            raise RefusedError(Code.INVALID_REQUEST, detail="")
        if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RefusedError(Code.INVALID_REQUEST, detail=messages.BODY_EXPECTED)
        return claims.answer(
            coupon_id,
            query=environ["QUERY_STRING"],
            body=body,
            token=environ.get(_TOKEN, ""),
            language=language,
        )
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, it is told as JSON, and logged
        return claims.refusal_reply(error, language)


@lru_cache(maxsize=1024)
def _is_our_host(host: str) -> bool:
    """As HttpRequest.get_host; remembered, for all clients name the same few."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


@lru_cache(maxsize=1024)
def _language(accepted: str | None) -> Language:
    """As LocaleMiddleware, from the header alone."""
    request = HttpRequest()
    if accepted is not None:
        request.META["HTTP_ACCEPT_LANGUAGE"] = accepted
    return messages.language_of(translation.get_language_from_request(request))
