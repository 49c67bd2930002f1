"""CORS (COUPON_CORS_ORIGINS) for answers that Django does not make: as django-cors-headers has them.

That library makes the header lines, once for each origin, so both kinds of answers are alike. A browser asks
before a claim that carries a ticket (a preflight); during a rush that is a million requests more, so they are
answered in the loop.
"""

from __future__ import annotations

import os
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request

#: As Django's CORS_URLS_REGEX has it.
_API: Final = "/api/"
#: Characters. No origin has more: a host has 253. Longer, and strangers fill the memory with made-up ones.
_LONGEST_ORIGIN: Final = 300
_OF_THE_BODY: Final = frozenset({"content-type", "vary"})
_PREFIX: Final = os.environ.get("SCRIPT_NAME", "")
_middleware: Final = CorsMiddleware(lambda request: HttpResponse())
#: Every answer of the API depends on it, with or without an Origin, or caches would mix them up.
VARY: Final = "origin"
IS_ON: Final = settings.CONFIG.cors.is_on
_PREFLIGHT: Final = Reply.of(HTTPStatus.OK, b"", [("Vary", VARY)])


def fields_for(request: Request) -> bytes:
    """The header lines that go with every answer to this request. In the loop's hub."""
    origin = request.header(b"origin")
    if not origin or not _is_of_the_api(request):
        return b""
    return fields_for_origin(origin, "OPTIONS" if request.method == "OPTIONS" else "GET")


def fields_for_origin(origin: str, method: str) -> bytes:
    return _fields(origin, method) if IS_ON and 0 < len(origin) <= _LONGEST_ORIGIN else b""


def remembered() -> int:
    """How many origins' lines are kept."""
    return _fields.cache_info().currsize


def leave_to_django(request: Request) -> None:
    """Take away what Django's own middleware adds. A browser refuses an answer that has it twice."""
    request.answer_fields = request.answer_fields.removeprefix(fields_for(request))


def preflight_reply(request: Request) -> Reply | None:
    """The answer, if a browser asks whether its page may ask."""
    is_one = request.method == "OPTIONS" and b"access-control-request-method" in request.headers
    return _PREFLIGHT if is_one and _is_of_the_api(request) else None


def _is_of_the_api(request: Request) -> bool:
    return unquote(request.path).removeprefix(_PREFIX).startswith(_API)


@lru_cache(maxsize=1024)
def _fields(origin: str, method: str) -> bytes:
    asked, answered = HttpRequest(), HttpResponse()
    asked.path_info, asked.method = _API, method
    asked.META["HTTP_ORIGIN"] = origin
    _middleware.add_response_headers(asked, answered)
    return fields_of([each for each in answered.items() if each[0].lower() not in _OF_THE_BODY])
