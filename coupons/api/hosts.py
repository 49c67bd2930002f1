"""Which Host headers are ours (ALLOWED_HOSTS), for every route but health, info and metrics.

As Django decides it, but for two: a name with an underscore, as Compose and Kubernetes give them, is a
name; and a request without a Host (HTTP/1.0) asks the address that it came to.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIRequest
from django.http.request import split_domain_port, validate_host

log = logging.getLogger(__name__)

LOG_EVERY_S: Final = 60.0  #: of refusals, at most
_LONGEST_TOLD: Final = 100
_AT_HOME: Final = (".localhost", "127.0.0.1", "[::1]")  #: as Django: with DEBUG and an empty ALLOWED_HOSTS


def named_in(environ: dict[str, Any]) -> str:
    """The host that a request asks for."""
    return environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"


@lru_cache(maxsize=1024)
def is_ours(host: str) -> bool:
    """Remembered, for all clients name the same few."""
    # Django knows no underscore in a name; whatever else is no name it still finds.
    domain, _ = split_domain_port(host.replace("_", "-"))
    named = host.lower()[: len(domain)]
    allowed = settings.ALLOWED_HOSTS or (_AT_HOME if settings.DEBUG else ())
    return bool(domain) and validate_host(named, allowed)


def shown(host: str) -> str:
    """A client's text, for a log line and an answer."""
    return "".join(each for each in host[:_LONGEST_TOLD] if each.isascii() and each.isprintable())


class Refusals:
    """Says once a minute at most that hosts are refused, and by which setting."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._said_at = float("-inf")

    def note(self, host: str) -> None:
        self._unsaid += 1
        if time.monotonic() - self._said_at < LOG_EVERY_S:
            return
        log.warning(
            "%d requests refused: their Host, now %r, is not in ALLOWED_HOSTS", self._unsaid, shown(host)
        )
        self._unsaid, self._said_at = 0, time.monotonic()


refusals: Final = Refusals()


class OurRequest(WSGIRequest):
    """What Django's pages see."""

    def get_host(self) -> str:
        host = named_in(self.META)
        if not is_ours(host):
            raise DisallowedHost(f"{shown(host)!r} is not in ALLOWED_HOSTS")
        return host
