"""The constant view as our worker serves applications: in the loop, without a thread."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.wsgi import get_wsgi_application

from runtime.http.environ import environ_of
from runtime.http.reply import Reply
from runtime.http.request import Request


class _Site:
    def __init__(self) -> None:
        self._django = get_wsgi_application()

    def enter_loop(self) -> None:
        """Nothing of it waits."""

    def serve(self, request: Request) -> None:
        # The view always answers the same, so its status line and headers are not looked at.
        body = self._django(environ_of(request), lambda status, headers, error=None: print)
        request.answer(Reply.of(200, b"".join(body), [("Content-Type", "application/json")]))

    def longest_body(self, request: Request) -> int:
        return 0

    def refusal(self, status: int, headers: Mapping[bytes, bytes]) -> Reply:
        return Reply.of(status, b"")

    def __call__(self) -> None:
        """gunicorn takes only what can be called for an application."""


application = _Site()
