"""What a browser may load for a page of the admin: our own files, and nothing from outside.

django-unfold's pages run on Alpine, whose usual build makes functions of text: it needs 'unsafe-eval'. Ours
is Alpine's own build for strict policies, and ``templates/unfold/layouts/skeleton.html`` has no script or
style of its own. docs/decisions/admin.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponseBase

CSP: Final = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


def admin_policy(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Middleware, in a page's thread. The documentation of the API is left alone: its page is not ours."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        match = request.resolver_match
        if match is not None and match.app_name == "admin":
            response.headers.setdefault("Content-Security-Policy", CSP)
        return response

    return answer
