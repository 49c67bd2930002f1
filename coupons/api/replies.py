"""HTTP answers of the routes that Django does not serve, as Django's middleware would have made them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from coupons.api import cors, errors
from coupons.api.messages import Language
from coupons.errors import RefusedError
from coupons.outcomes import Code
from runtime.http.reply import Reply, fields_of

_VARY: Final = f"Accept-Language, {cors.VARY}" if cors.IS_ON else "Accept-Language"


def json_reply(
    status: HTTPStatus, body: bytes, language: Language, headers: Iterable[tuple[str, str]] = ()
) -> Reply:
    return Reply(status, _json_fields(len(body), language) + fields_of(headers), body)


@lru_cache(maxsize=1024)
def _json_fields(length: int, language: Language) -> bytes:
    return fields_of(
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(length)),
            ("Content-Language", language),
            ("Vary", _VARY),
            ("X-Content-Type-Options", "nosniff"),
        ]
    )


def refusal_reply(error: Exception, language: Language, *, allowed: str = "") -> Reply:
    refusal = errors.refusal_to(error, language=language, allowed=allowed)
    return json_reply(refusal.status, refusal.json, language, refusal.headers.items())


@lru_cache(maxsize=1024)
def sold_out(coupon_id: int, language: Language) -> Reply:
    """The answer that most of a crowd gets."""
    return refusal_reply(RefusedError(Code.OUT_OF_STOCK, coupon_id=coupon_id), language)


@lru_cache(maxsize=2)
def unpublished(language: Language) -> Reply:
    """The answer that a crowd gets again and again while its partition is dead."""
    return refusal_reply(RefusedError(Code.BROKER_UNAVAILABLE), language)
