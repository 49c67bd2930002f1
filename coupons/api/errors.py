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
from runtime.database_watch import DatabaseAwayError

log = logging.getLogger(__name__)

_CHALLENGE: Final = 'Bearer realm="coupons"'
_LATER: Final = {"Retry-After": "2"}
_AFTER_THE_PAUSE: Final = {"Retry-After": "5"}  #: an operator's pause lasts longer than a broker's election
HTTP_STATUS: Final[dict[Code, HTTPStatus]] = {
    Code.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    Code.TICKET_MISSING: HTTPStatus.UNAUTHORIZED,
    Code.TICKET_MALFORMED: HTTPStatus.UNAUTHORIZED,
    Code.TICKET_FOREIGN: HTTPStatus.UNAUTHORIZED,
    Code.TICKET_EXPIRED: HTTPStatus.UNAUTHORIZED,
    Code.TICKET_NOT_YET_VALID: HTTPStatus.UNAUTHORIZED,
    Code.TICKET_OF_ANOTHER_USER: HTTPStatus.FORBIDDEN,
    Code.TICKET_FOR_ANOTHER_COUPON: HTTPStatus.FORBIDDEN,
    Code.IDENTITY_NOT_PROVEN: HTTPStatus.FORBIDDEN,
    Code.OFFICE_KEY_UNKNOWN: HTTPStatus.UNAUTHORIZED,
    Code.SCOPE_MISSING: HTTPStatus.FORBIDDEN,
    Code.SIGNER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.USER_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.COUPON_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.REQUEST_NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.NOT_ELIGIBLE: HTTPStatus.FORBIDDEN,
    Code.COUPON_CLOSED: HTTPStatus.CONFLICT,
    Code.CLAIMS_PAUSED: HTTPStatus.SERVICE_UNAVAILABLE,
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
        if not isinstance(error, DatabaseAwayError):  # that is said once, not for each claim
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
        headers=_headers(code, names.get("detail")),
    )


def _headers(code: Code, detail: object) -> dict[str, str]:
    """Retry-After, or what RFC 6750 wants of an answer about a ticket. In English: it is for programs."""
    if code in (Code.BROKER_UNAVAILABLE, Code.SIGNER_UNAVAILABLE):
        return _LATER
    if code is Code.CLAIMS_PAUSED:
        return _AFTER_THE_PAUSE
    if code is Code.SCOPE_MISSING:
        return {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{detail}"'}
    if HTTP_STATUS[code] is not HTTPStatus.UNAUTHORIZED:
        return {}
    if code is Code.TICKET_MISSING:
        return {"WWW-Authenticate": _CHALLENGE}
    told = messages.refusal(code, "en", detail=detail or "").replace('"', "'")
    return {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token", error_description="{told}"'}


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _refusal(Code.NOT_FOUND).as_response()


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _refusal(Code.INVALID_REQUEST, detail="").as_response()


def server_error(request: HttpRequest) -> HttpResponse:
    return _refusal(Code.INTERNAL_ERROR).as_response()
