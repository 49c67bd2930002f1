"""Answers a request's status and a queue's size in the loop, where waiting holds no thread.

Fifty requests for unknown ids wait for a reading of the log; in the threads of pages they would hold up the
requests for known ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

from rest_framework.renderers import JSONRenderer

from coupons.api import callers, lookups, messages
from coupons.api.callers import Credentials
from coupons.api.converters import IdConverter, RequestIdConverter
from coupons.api.messages import Language
from coupons.api.replies import json_reply, refusal_reply
from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request

Lookup = Callable[[Language, Credentials], dict[str, Any]]
_STATUS: Final = re.compile(rf"/api/coupons/requests/({RequestIdConverter.regex})")
_QUEUE_SIZE: Final = re.compile(rf"/api/coupons/({IdConverter.regex})/queue-size")


def lookup_in(request: Request) -> Lookup | None:
    """What the request asks for; None if it is for another route."""
    return _lookup(unquote(request.path)) if request.method in ("GET", "HEAD") else None


def reply_to(request: Request, lookup: Lookup) -> Reply:
    """Called in the loop by the request's greenlet, which sleeps while threads ask: it must not block."""
    language = messages.language_for(request.header(b"accept-language"))
    credentials = callers.credentials_of(request)
    try:
        body: bytes = JSONRenderer().render(lookup(language, credentials))
        reply = json_reply(HTTPStatus.OK, body, language)
    except Exception as error:  # noqa: BLE001 - the edge: every error is answered as JSON, and logged
        reply = refusal_reply(error, language)
    if callers.is_old(credentials):
        callers.warn()
        reply.fields += fields_of([callers.DEPRECATION])
    return reply


def _lookup(path: str) -> Lookup | None:
    if match := _STATUS.fullmatch(path):
        request_id = UUID(match[1])
        return lambda language, credentials: lookups.request_status(request_id, language, credentials)
    if match := _QUEUE_SIZE.fullmatch(path):
        try:
            coupon_id = IdConverter().to_python(match[1])
        except ValueError:
            return None
        return lambda language, _: lookups.queue_size(coupon_id, language)
    return None
