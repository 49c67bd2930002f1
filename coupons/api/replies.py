"""HTTP answers of the routes ahead of Django's handler, as Django's middleware would have made them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from coupons.api import errors
from coupons.api.messages import Language


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer. ``status_line`` and ``headers`` are for WSGI's start_response."""

    status: HTTPStatus
    body: bytes
    headers: list[tuple[str, str]]

    @property
    def status_line(self) -> str:
        return f"{self.status.value} {self.status.phrase}"


def json_reply(
    status: HTTPStatus, body: bytes, language: Language, headers: Iterable[tuple[str, str]] = ()
) -> Reply:
    return Reply(
        status,
        body,
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Content-Language", language),
            ("Vary", "Accept-Language"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )


def refusal_reply(error: Exception, language: Language, *, allowed: str = "") -> Reply:
    refusal = errors.refusal_to(error, language=language, allowed=allowed)
    return json_reply(refusal.status, refusal.json, language, refusal.headers.items())
