"""What is answered where a page cannot be: a page for people at the admin, JSON for everybody else."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from coupons.admin import failures
from coupons.api import errors


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _page(request, HTTPStatus.FORBIDDEN)


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    if _is_at_the_admin(request):
        return _page(request, HTTPStatus.NOT_FOUND)
    return errors.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if _is_at_the_admin(request):
        return _page(request, HTTPStatus.INTERNAL_SERVER_ERROR)
    return errors.server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: nearly always a form that was open while its reader logged in again."""
    return _page(request, HTTPStatus.FORBIDDEN, told=failures.CSRF)


def _is_at_the_admin(request: HttpRequest) -> bool:
    is_asked_by_a_browser = "text/html" in request.headers.get("accept", "")
    return is_asked_by_a_browser and request.path.startswith(reverse("admin:index"))


def _page(request: HttpRequest, status: HTTPStatus, told: object = None) -> HttpResponse:
    """Reads nothing but the request: it is shown too while the database is away."""
    context = {"title": failures.TITLES[status], "told": told or failures.TOLD[status], "back": failures.BACK}
    return render(request, "admin/coupons/failure.html", context, status=status)
