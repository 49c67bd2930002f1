"""Errors as the contract's JSON. The only place that knows HTTP status codes."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from coupons.api import messages
from coupons.backlog import LogUnavailable
from coupons.errors import RefusedError
from coupons.outcomes import Code

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = "2"
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
    Code.BROKER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook: every exception of a view becomes a refusal; nothing leaks a trace."""
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = context["view"].headers["Allow"] if "view" in context else ""
        response = _refusal(Code.METHOD_NOT_ALLOWED, detail=f"Allow: {allowed}")
        response["Allow"] = allowed
        return response
    refused = _as_refusal(error)
    if refused is not None:
        return _refusal(refused.code, request_id=refused.request_id, **refused.names)
    log.exception("unexpected error", exc_info=error)
    response = _refusal(Code.INTERNAL_ERROR)
    if isinstance(error, OperationalError | InterfaceError):
        # The database is away: the client may come back, as after a broker's absence.
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response["Retry-After"] = RETRY_AFTER_S
    return response


def _as_refusal(error: Exception) -> RefusedError | None:
    match error:
        case RefusedError():
            return error
        case LogUnavailable():
            return RefusedError(Code.BROKER_UNAVAILABLE)
        case Http404():
            return RefusedError(Code.NOT_FOUND)
        case exceptions.ParseError() | SuspiciousOperation():
            return RefusedError(Code.INVALID_REQUEST, detail=messages.BODY_EXPECTED[messages.language()])
        case _:
            return None


def _refusal(code: Code, *, request_id: object = None, **names: object) -> Response:
    response = Response(
        {
            "success": False,
            "code": code.value,
            "message": messages.refusal(code, **names),
            "requestId": str(request_id) if request_id else "",
        },
        status=HTTP_STATUS[code],
    )
    if code is Code.BROKER_UNAVAILABLE:
        response["Retry-After"] = RETRY_AFTER_S
    return response


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return _json_page(Code.NOT_FOUND)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return _json_page(Code.INVALID_REQUEST, detail="")


def server_error(request: HttpRequest) -> JsonResponse:
    return _json_page(Code.INTERNAL_ERROR)


def _json_page(code: Code, **names: object) -> JsonResponse:
    refusal = _refusal(code, **names)
    return JsonResponse(refusal.data, status=refusal.status_code, json_dumps_params={"ensure_ascii": False})
