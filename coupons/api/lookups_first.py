"""WSGI: answers a request's status and a queue's size in the loop, where waiting holds no thread.

Fifty requests for unknown ids wait for a reading of the log; in the threads of pages they would hold up the
requests for known ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from rest_framework.renderers import JSONRenderer

from coupons.api import lookups, messages
from coupons.api.converters import IdConverter, RequestIdConverter
from coupons.api.messages import Language
from coupons.api.replies import Reply, json_reply, refusal_reply
from runtime import request_body
from runtime.in_threads import Application, Environ, StartResponse

Lookup = Callable[[Language], dict[str, Any]]
_STATUS: Final = re.compile(rf"/api/coupons/requests/({RequestIdConverter.regex})")
_QUEUE_SIZE: Final = re.compile(rf"/api/coupons/({IdConverter.regex})/queue-size")


class LookupsFirst:
    """Answers these two routes, and hands every other request to the other application.

    Called in the loop, in the connection's greenlet, which sleeps while threads ask: nothing here may block.
    """

    def __init__(self, others: Application) -> None:
        self._others = others

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        lookup = _lookup(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] in ("GET", "HEAD") else None
        if lookup is None:
            return self._others(environ, start_response)
        request_body.read(environ)
        reply = _reply(lookup, messages.language_for(environ.get("HTTP_ACCEPT_LANGUAGE")))
        start_response(reply.status_line, reply.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [reply.body]


def _lookup(path: str) -> Lookup | None:
    if match := _STATUS.fullmatch(path):
        request_id = UUID(match[1])
        return lambda language: lookups.request_status(request_id, language)
    if match := _QUEUE_SIZE.fullmatch(path):
        try:
            coupon_id = IdConverter().to_python(match[1])
        except ValueError:
            return None
        return lambda language: lookups.queue_size(coupon_id, language)
    return None


def _reply(lookup: Lookup, language: Language) -> Reply:
    try:
        body: bytes = JSONRenderer().render(lookup(language))
        return json_reply(HTTPStatus.OK, body, language)
    except Exception as error:  # noqa: BLE001 - the edge: every error is answered as JSON, and logged
        return refusal_reply(error, language)
