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

from coupons import measures
from coupons.api import errors, messages
from coupons.api.messages import Language
from coupons.api.replies import json_reply
from coupons.claims import limiting
from coupons.claims.limiting import Counted, Limiting
from coupons.errors import RefusedError
from coupons.figures.counting import desk as figures
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


def start() -> None:
    """From now on this process limits, if a limit is set. Call it in the thread of its loop."""
    limiting.start(_LIMITS)


def is_counted(request: Request) -> bool:
    return unquote(request.path).startswith(_API)


class RequestLimit:
    """Of one request, whose address may go on asking. In the loop's hub."""

    __slots__ = ("_address", "_coupon_id", "_limiting", "_request")

    def __init__(self, request: Request, address: str, counts: Limiting, *, coupon_id: int | None) -> None:
        self._request, self._address = request, address
        self._limiting, self._coupon_id = counts, coupon_id

    def take(self, go_on: Callable[[], None]) -> None:
        """Count the address; then call ``go_on``, or answer 429. For what is no claim, or no right one."""
        if _LIMITS.address is None:
            go_on()
            return

        def then(verdict: Verdict | None) -> None:
            if self._passes(verdict):
                go_on()

        self._limiting.take(Asking(self._address), then)

    def of(self, user_id: int) -> Counted:
        """For a claim of this user, whose batch counts it."""
        return Counted(Asking(self._address, user_id), self._passes)

    def _passes(self, verdict: Verdict | None) -> bool:
        """Whether the request goes on. If not, it is answered."""
        if verdict is None:
            return True
        if verdict.wait_us:
            _refuse(self._request, verdict, coupon_id=self._coupon_id)
            return False
        self._request.answer_fields += _fields(verdict)
        return True


def of_request(request: Request, *, coupon_id: int | None = None) -> RequestLimit | None:
    """The request's limit; None if it is refused, and answered, because its address has to wait.

    ``coupon_id``: of a claim. In the loop's hub. Only where limits are on.
    """
    counts = limiting.current()
    assert counts is not None, "the loop was entered"
    address = _PROXIES.client(request.connection.peer[0], request.header(b"x-forwarded-for"))
    if (verdict := counts.known(Asking(address))) is not None:
        _refuse(request, verdict, coupon_id=coupon_id)
        return None
    return RequestLimit(request, address, counts, coupon_id=coupon_id)


def _refuse(request: Request, verdict: Verdict, *, coupon_id: int | None) -> None:
    by = "address" if verdict.address and verdict.address.wait_us else "user"
    metrics.LIMITED.labels(by=by).inc()
    if coupon_id is not None:
        figures.refused_for_haste(coupon_id)
        measures.claims_answered({(coupon_id, Code.TOO_MANY_REQUESTS.value): 1})
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
