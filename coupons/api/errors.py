"""Errors as the JSON of docs/api.md. The only place that knows HTTP status codes."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from coupons.api import messages
from coupons.api.messages import Language
from coupons.errors import RefusedError
from coupons.eventlog.backlog import LogUnavailable
from coupons.outcomes import Code

log = logging.getLogger(__name__)

_LATER: Final = {"Retry-After": "2"}
HTTP_STATUS: Final[dict[Code, HTTPStatus]] = {
    Code.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    Code.IDENTITY_NOT_PROVEN: HTTPStatus.FORBIDDEN,
    Code.USER_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.COUPON_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.REQUEST_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.COUPON_CLOSED: HTTPStatus.CONFLICT,
    Code.OUT_OF_STOCK: HTTPStatus.CONFLICT,
    Code.ALREADY_REQUESTED: HTTPStatus.CONFLICT,
    Code.TOO_MANY_REQUESTS: HTTPStatus.TOO_MANY_REQUESTS,
    Code.BROKER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal as the client gets it."""

    status: HTTPStatus
    body: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()

    def as_response(self) -> HttpResponse:
        return HttpResponse(
            self.json, status=self.status, headers=self.headers, content_type="application/json"
        )


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook: every exception of a view becomes a refusal, so no answer shows a trace."""
    refusal = refusal_to(error, allowed=context["view"].headers["Allow"] if "view" in context else "")
    return Response(refusal.body, status=refusal.status, headers=refusal.headers)


def refusal_to(error: Exception, *, allowed: str = "", language: Language | None = None) -> Refusal:
    """The refusal that answers this error. ``allowed``: the methods that the address supports.

    ``language`` None: the one that LocaleMiddleware chose.
    """
    if isinstance(error, exceptions.MethodNotAllowed):
        refusal = _refusal(Code.METHOD_NOT_ALLOWED, language=language, detail=f"Allow: {allowed}")
        return replace(refusal, headers={"Allow": allowed})
    refused = _as_refusal(error)
    if refused is not None:
        return _refusal(refused.code, language=language, request_id=refused.request_id, **refused.names)
    if isinstance(error, OperationalError | InterfaceError):
        # The database is away: the client may try again later, as while the broker is away.
        log.warning("the database does not answer: %s", error)
        refusal = _refusal(Code.INTERNAL_ERROR, language=language)
        return replace(refusal, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=_LATER)
    log.error("unexpected error", exc_info=error)
    return _refusal(Code.INTERNAL_ERROR, language=language)


def _as_refusal(error: Exception) -> RefusedError | None:
    match error:
        case RefusedError():
            return error
        case LogUnavailable():
            return RefusedError(Code.BROKER_UNAVAILABLE)
        case Http404():
            return RefusedError(Code.NOT_FOUND)
        case exceptions.ParseError() | SuspiciousOperation():
            return RefusedError(Code.INVALID_REQUEST, detail=messages.BODY_EXPECTED)
        case _:
            return None


def _refusal(
    code: Code, *, language: Language | None = None, request_id: object = None, **names: object
) -> Refusal:
    return Refusal(
        status=HTTP_STATUS[code],
        body={
            "success": False,
            "code": code.value,
            "message": messages.refusal(code, language or messages.language(), **names),
            "requestId": str(request_id) if request_id else "",
        },
        headers=_LATER if code is Code.BROKER_UNAVAILABLE else {},
    )


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _refusal(Code.NOT_FOUND).as_response()


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _refusal(Code.INVALID_REQUEST, detail="").as_response()


def server_error(request: HttpRequest) -> HttpResponse:
    return _refusal(Code.INTERNAL_ERROR).as_response()
