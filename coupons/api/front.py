"""The claim route, ahead of Django's handler and middleware, which only pages need.

A claim needs no session, cookie, CSRF token or content negotiation, and a million of them come in one second.
The rest of Django's work for a request is done here: choose the language, answer errors as JSON.
docs/performance.md shows what that saves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes
from uuid import UUID

from coupons.api import callers, claims, limits, messages
from coupons.eventlog.events import MAX_ID
from runtime.http.request import Request

_ROUTE: Final = rb"/api/coupons/([0-9]{1,19})/issue"


def route_below(prefix: str) -> bytes:
    """The claim route's pattern, letter by letter, below a proxy's prefix.

    The form for proxies puts a host ahead of it.
    """
    return rb"(?:https?://[^/?#]*)?%b%b(?:\?([^#]*))?" % (re.escape(prefix.encode()), _ROUTE)


_SPELT_OUT: Final = re.compile(route_below(os.environ.get("SCRIPT_NAME", "")))
_IN_OTHER_LETTERS: Final = re.compile(rb".*" + _ROUTE, re.DOTALL)


class ClaimedCoupon(NamedTuple):
    coupon_id: int
    query: str


def claimed_in(request: Request) -> ClaimedCoupon | None:
    """What is claimed; None if the request is no claim, or one in other letters."""
    if request.method != "POST":
        return None
    match = _SPELT_OUT.fullmatch(request.target)
    if match is None or not 1 <= int(match[1]) <= MAX_ID:
        return None
    return ClaimedCoupon(int(match[1]), (match[2] or b"").decode("latin1"))


def is_claim_in_other_letters(request: Request) -> bool:
    """Whether Django would take this for a claim although its path is not spelt out.

    To Django `/%61pi/…` and `…%2Fissue` are the same path; to a proxy that limits the rate of claims by their
    path they are another one, and would pass it by.
    """
    path = unquote_to_bytes(request.path)
    return request.method == "POST" and _IN_OTHER_LETTERS.fullmatch(path) is not None


def serve(
    request: Request, claimed: ClaimedCoupon, *, new_id: Callable[[], UUID] = claims.new_request_id
) -> None:
    """Answer a claim, now or when its batch is done. In the loop's hub: nothing here may wait.

    ``new_id`` makes its request id (``claims.submit``).
    """
    limit = limits.of_request(request, coupon_id=claimed.coupon_id) if limits.IS_ON else None
    if limit is None and limits.IS_ON:
        return
    credentials = callers.credentials_of(request)
    claims.submit(
        claimed.coupon_id,
        query=claimed.query,
        body=request.body,
        is_too_long=request.is_too_long,
        credentials=credentials,
        language=messages.language_for(request.header(b"accept-language")),
        reply=callers.with_warning(request.answer, credentials),
        limit=limit,
        new_id=new_id,
    )
