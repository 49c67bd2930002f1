"""WSGI: answers claims ahead of Django's handler and middleware, which only pages need.

A claim needs no session, cookie, CSRF token or content negotiation, and a million of them come in
one second. The rest of Django's work for a request is done here: choose the language, answer errors
as JSON. docs/performance.md shows what that saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from coupons.api import claims, messages
from coupons.api.replies import Reply, refusal_reply
from coupons.claims import identity
from coupons.errors import RefusedError
from coupons.eventlog.events import MAX_ID
from coupons.outcomes import Code
from runtime import request_body
from runtime.in_threads import Application, Environ, StartResponse

_CLAIM: Final = re.compile(r"/api/coupons/([0-9]{1,19})/issue")
_TOKEN: Final = "HTTP_" + identity.HEADER.upper().replace("-", "_")


class ClaimsFirst:
    """Answers claims, and hands every other request to the other application.

    Called in the loop, in the connection's greenlet: nothing here may block the thread.
    """

    def __init__(self, others: Application) -> None:
        self._others = others

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        match = _CLAIM.fullmatch(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "POST" else None
        if match is None or not 1 <= int(match[1]) <= MAX_ID:
            return self._others(environ, start_response)
        reply = _reply(environ, int(match[1]))
        start_response(reply.status_line, reply.headers)
        return [reply.body]


def _reply(environ: Environ, coupon_id: int) -> Reply:
    language = messages.language_for(environ.get("HTTP_ACCEPT_LANGUAGE"))
    body = request_body.read(environ)
    try:
        if not _is_spelt_out(environ):
            raise RefusedError(Code.NOT_FOUND)
        return claims.answer(
            coupon_id,
            query=environ["QUERY_STRING"],
            body=body,
            token=environ.get(_TOKEN, ""),
            language=language,
        )
    except Exception as error:  # noqa: BLE001 - the edge: every error is answered as JSON, and logged
        return refusal_reply(error, language)


def _is_spelt_out(environ: Environ) -> bool:
    """Whether the request line has the claim's path letter by letter.

    To Django `/%61pi/…` and `…%2Fissue` are the same path; to a proxy that limits the rate of claims by
    their path they are another one, and would pass it by.
    """
    path = f"{environ.get('SCRIPT_NAME', '')}{environ['PATH_INFO']}"
    asked = environ["RAW_URI"].partition("?")[0]
    if asked.startswith(("http://", "https://")):  # the form for proxies
        asked = "/" + asked.partition("://")[2].partition("/")[2]
    return bool(asked == path)
