"""The figures that an event's page asks for once a second, answered in the loop ahead of Django.

A page says when its newest figures were made, and is answered when there are newer ones.

A session costs Django two queries and some milliseconds, which a hundred watchers would take from claims. So
a page gets a pass, signed and valid for two minutes, and asks Django for a new one each minute. Whoever is
logged out sees figures for two minutes more, and can do nothing.
"""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from django.core import signing

from coupons.event_page.board import board
from coupons.eventlog.events import MAX_ID
from runtime.http.reply import Reply
from runtime.http.request import Request

PASS_S: Final = 120
_ROUTE: Final = re.compile(
    re.escape(os.environ.get("SCRIPT_NAME", "")) + r"/admin/coupons/coupon/event/([0-9]{1,19})/snapshot/"
)
_FIELDS: Final = [
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]
_MOMENT: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_signer: Final = signing.TimestampSigner(salt="coupon-event-page")


def new_pass(key: int) -> str:
    """A pass for the figures of one event, or of today's."""
    return _signer.sign(str(key))


def is_valid(token: str, key: int) -> bool:
    try:
        return time.time() - _signed_at(token, key) <= PASS_S
    except signing.BadSignature:
        return False


@lru_cache(maxsize=1_000)  # a pass comes once a second, for a minute; what is no pass is not kept
def _signed_at(token: str, key: int) -> int:
    """When a pass was signed, in seconds since the epoch. Raises BadSignature for another event's too."""
    if _signer.unsign(token) != str(key):
        raise signing.BadSignature("a pass for another event")
    return signing.b62_decode(token.rsplit(_signer.sep, 2)[1])


def asked_for(request: Request) -> int | None:
    """The event whose figures are asked for; None if the request is for another route."""
    if request.method != "GET" or "/event/" not in request.path:
        return None
    match = _ROUTE.fullmatch(request.path)
    return int(match[1]) if match and int(match[1]) <= MAX_ID else None


def serve(request: Request, key: int) -> None:
    """Answer now, or when there are newer figures than those the page has. In the loop's hub."""
    query = parse_qs(request.query)
    token, after = (query.get(name, [""])[0] for name in ("pass", "after"))
    if not is_valid(token, key):
        request.answer(Reply.of(HTTPStatus.FORBIDDEN, b'{"error":"pass"}', _FIELDS))
    elif _MOMENT.fullmatch(after):
        board.when_newer(key, than=int(after), tell=partial(_answer, request))
    else:
        _answer(request, board.newest(key))


def _answer(request: Request, body: bytes) -> None:
    request.answer(Reply.of(HTTPStatus.OK, body or b'{"error":"soon"}', _FIELDS))
