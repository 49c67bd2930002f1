"""Fetches the shop's public keys from its address. Waits for the network: in the ring's own thread alone."""

from __future__ import annotations

import time
import urllib.request
from http.client import HTTPException
from typing import IO, Any, Final
from urllib.error import HTTPError

#: For one step of it, and for all of it. Shorter, and a login that starts up is missed; longer, and tickets
#: with a new key wait for an address that hangs.
STEP_S: Final = 3.0
MOST_S: Final = 6.0
#: Bytes. A JWKS has 1 to 10 kB.
LONGEST: Final = 262_144
_PART: Final = 65_536


class JwksAwayError(Exception):
    """The address does not answer with a text; the message says how."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The address is the one that was set, not another one that somebody else chose."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


def _http_alone() -> urllib.request.OpenerDirector:
    """Without what reads files and other schemes."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        _NoRedirects,
    ):
        opener.add_handler(handler())
    return opener


_opener: Final = _http_alone()


def fetched(address: str) -> str:
    """What is there now. Raises JwksAwayError, after MOST_S + STEP_S at most."""
    until = time.monotonic() + MOST_S
    request = urllib.request.Request(address, headers={"Accept": "application/json"})
    try:
        with _opener.open(request, timeout=STEP_S) as response:
            return _read(response, until).decode()
    except HTTPError as error:
        error.close()
        raise JwksAwayError(f"HTTP {error.code}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise JwksAwayError(str(error) or type(error).__name__) from error


def _read(response: IO[bytes], until: float) -> bytes:
    """Raises ValueError if it is too long, or comes too slowly."""
    read = b""
    while part := response.read1(_PART):  # type: ignore[attr-defined]
        read += part
        if len(read) > LONGEST:
            raise ValueError(f"more than {LONGEST} bytes")
        if time.monotonic() > until:
            raise ValueError(f"not there after {MOST_S:.0f} s")
    return read
