"""What the admin's login answers to a name that is locked after failures (couponsite/settings.py, AXES_…)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse

from coupons.admin.names import text

_TOLD = text(
    en="Too many failed logins under this name. Wait 15 minutes and try again.",
    ko="이 이름으로 로그인에 여러 번 실패했습니다. 15분 뒤에 다시 시도해 주세요.",
)


def locked_out(request: HttpRequest, response: HttpResponse | None, credentials: Any) -> HttpResponse:
    """django-axes calls this in place of the login page, in a page's thread."""
    return HttpResponse(
        str(_TOLD), status=HTTPStatus.TOO_MANY_REQUESTS, content_type="text/plain; charset=utf-8"
    )
