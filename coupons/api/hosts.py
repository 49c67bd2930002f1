"""Which Host headers are ours (ALLOWED_HOSTS), for every route but health, info and metrics.

As Django, with two exceptions: a name may have an underscore, as Compose and Kubernetes give them; and a
request without a Host (HTTP/1.0) is for the address that it came to.
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

LOG_EVERY_S: Final = 60.0  #: scanners send thousands of wrong hosts: one line counts them
_LONGEST_TOLD: Final = 100  #: characters of a client's Host in log lines and answers
_AT_HOME: Final = (".localhost", "127.0.0.1", "[::1]")  #: Django's own, with DEBUG and an empty ALLOWED_HOSTS


def named_in(environ: dict[str, Any]) -> str:
    """The host that a request asks for."""
    return environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"


@lru_cache(maxsize=1024)
def is_ours(host: str) -> bool:
    """Whether ALLOWED_HOSTS has this host. Cached, because all clients name the same few hosts."""
    # Django's check refuses underscores in a name; with a dash instead, it refuses only what is no name.
    domain, _ = split_domain_port(host.replace("_", "-"))
    named = host.lower()[: len(domain)]
    allowed = settings.ALLOWED_HOSTS or (_AT_HOME if settings.DEBUG else ())
    return bool(domain) and validate_host(named, allowed)


def shown(host: str) -> str:
    """A client's Host as log lines and answers show it: printable ASCII, and not too long."""
    return "".join(each for each in host[:_LONGEST_TOLD] if each.isascii() and each.isprintable())


class Refusals:
    """Counts refused hosts, and logs the count once a minute, with the setting that refuses them."""

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
    """The request as Django's pages see it: with our rule for hosts."""

    def get_host(self) -> str:
        host = named_in(self.META)
        if not is_ours(host):
            raise DisallowedHost(f"{shown(host)!r} is not in ALLOWED_HOSTS")
        return host
