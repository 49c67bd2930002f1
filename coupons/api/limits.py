"""Limits of how often an address and a user may ask: 429, and the header lines that say how much is left.

RateLimit-Policy and RateLimit are those of draft-ietf-httpapi-ratelimit-headers-10. Health, info, metrics,
the admin and preflights are not limited. An address is counted for every other request of the API, also for
one that is refused; a user for each claim whose user is proven.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from math import ceil
from typing import Final
from urllib.parse import unquote

import gevent
from django.conf import settings

from coupons.api import errors, messages
from coupons.api.messages import Language
from coupons.api.replies import json_reply
from coupons.claims.limiting import Limiting
from coupons.errors import RefusedError
from coupons.gate.limits import Asking, Bucket, Verdict
from coupons.outcomes import Code
from runtime import metrics
from runtime.config.limits import Limit
from runtime.http.forwarded import Proxies
from runtime.http.reply import Reply, fields_of
from runtime.http.request import Request

_LIMITS: Final = settings.CONFIG.limits
IS_ON: Final = _LIMITS.is_on
_API: Final = f"{os.environ.get('SCRIPT_NAME', '')}/api/"
_PROXIES: Final = Proxies(_LIMITS.proxies)
_NAMED: Final = {
    name: limit for name, limit in (("address", _LIMITS.address), ("user", _LIMITS.user)) if limit
}
_limiting: Limiting | None = None
#: Who was told 429 and goes on asking is answered so much later: a flood that waits for its answers becomes
#: a trickle. Shorter, and it takes more of our time from others; longer, and clients give up.
_HELD_S: Final = 1.0
#: Requests that one worker holds at the same time; more are answered at once. More, and a flood takes the
#: connections of others.
MOST_HELD: Final = 1000


class Held:
    """Answers that wait. In the loop's hub."""

    def __init__(self) -> None:
        self._count = 0

    def answer_later(self, request: Request, reply: Reply) -> None:
        if self._count >= MOST_HELD:
            request.answer(reply)
            return
        self._count += 1
        gevent.spawn_later(_HELD_S, self._answer, request, reply)

    def _answer(self, request: Request, reply: Reply) -> None:
        self._count -= 1
        request.answer(reply)


_held: Final = Held()

GoOn = Callable[[], None]
#: Calls the second if the user is within the limits, else answers 429. None: no user is proven.
Within = Callable[[int | None, GoOn], None]


def unlimited(user_id: int | None, go_on: GoOn) -> None:
    """Where there are no limits."""
    go_on()


def start() -> None:
    """From now on this process limits, if a limit is set. Call it in the thread of its loop."""
    global _limiting
    _limiting = Limiting(_LIMITS) if IS_ON else None


def is_counted(request: Request) -> bool:
    return unquote(request.path).startswith(_API)


def within(request: Request, *, is_claim: bool = False) -> Within | None:
    """What takes the request's tokens. None if it is refused at once, and answered. In the loop's hub."""
    limiting = _limiting
    if limiting is None:
        return unlimited
    address = _PROXIES.client(request.connection.peer[0], request.header(b"x-forwarded-for"))
    if (verdict := limiting.known(Asking(address))) is not None:
        _refuse(request, verdict, is_claim=is_claim)
        return None

    def take(user_id: int | None, go_on: GoOn) -> None:
        if user_id is None and _LIMITS.address is None:
            go_on()
            return

        def then(verdict: Verdict | None) -> None:
            if verdict is None:
                go_on()
            elif verdict.wait_us:
                _refuse(request, verdict, is_claim=is_claim)
            else:
                request.answer_fields += _fields(verdict)
                go_on()

        limiting.take(Asking(address, user_id), then)

    return take


def _refuse(request: Request, verdict: Verdict, *, is_claim: bool) -> None:
    by = "address" if verdict.address and verdict.address.wait_us else "user"
    metrics.LIMITED.labels(by=by).inc()
    if is_claim:
        metrics.CLAIMS.labels(outcome=Code.TOO_MANY_REQUESTS.value).inc()
    request.answer_fields += _fields(verdict)
    language = messages.language_for(request.header(b"accept-language"))
    reply = too_many(language, retry_after_s=_seconds(verdict.wait_us))
    if verdict.is_remembered:
        _held.answer_later(request, reply)
    else:
        request.answer(reply)


@lru_cache(maxsize=256)
def too_many(language: Language, *, retry_after_s: int) -> Reply:
    refusal = errors.refusal_to(RefusedError(Code.TOO_MANY_REQUESTS), language=language)
    headers = [("Retry-After", str(retry_after_s))]
    return json_reply(HTTPStatus.TOO_MANY_REQUESTS, refusal.json, language, headers)


def _seconds(microseconds: int) -> int:
    return ceil(microseconds / 1e6)


def _policy(name: str, limit: Limit) -> str:
    """``q``: so many at once; ``w``: seconds until an empty bucket is full again."""
    return f'"{name}";q={limit.burst};w={_seconds(limit.depth_us)}'


_POLICIES: Final = fields_of(
    [("RateLimit-Policy", ", ".join(_policy(*each) for each in _NAMED.items()))] if _NAMED else []
)


def _fields(verdict: Verdict) -> bytes:
    """``r``: how many are left; ``t``: seconds until all are there again, or the next one if none is left."""
    named = (("address", verdict.address), ("user", verdict.user))
    told = [_left(name, _NAMED[name], bucket) for name, bucket in named if bucket is not None]
    return b"%bRateLimit: %b\r\n" % (_POLICIES, b", ".join(told))


def _left(name: str, limit: Limit, bucket: Bucket) -> bytes:
    if bucket.wait_us:
        return _told(name, 0, _seconds(bucket.wait_us))
    return _told(name, bucket.remaining(limit), _seconds(bucket.full_in_us))


@lru_cache(maxsize=4096)
def _told(name: str, remaining: int, seconds: int) -> bytes:
    return f'"{name}";r={remaining};t={seconds}'.encode()
