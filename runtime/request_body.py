"""Reads a request's body in the loop that owns the connection."""

from __future__ import annotations

import errno
from typing import Any, Final

import gevent
from django.conf import settings

PATIENCE_S: Final = 20.0  #: with a client that sends its body; then its connection ends
_READ_AT_ONCE: Final = 65_536
_MOST_DROPPED: Final = 32 * 1024 * 1024


def read(environ: dict[str, Any]) -> bytes:
    """The body; of one that is larger than Django reads, a byte more than that, so that it is noticed.

    The rest of a large one is taken and dropped: a client that is still sending would see its
    connection reset, and not the answer. One that stops sending in the middle, or hangs up there, has
    asked for nothing and loses its connection: ENOTCONN, which gunicorn takes for a client that has gone.
    """
    if environ.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    with gevent.Timeout(PATIENCE_S, OSError(errno.ENOTCONN, "the request's body did not come")):
        body, received = _read(environ["wsgi.input"])
    if received < min(int(environ.get("CONTENT_LENGTH") or 0), _MOST_DROPPED):
        raise OSError(errno.ENOTCONN, "the request's body ended before its end")
    return body


def _read(stream: Any) -> tuple[bytes, int]:
    """What is kept, and how many bytes came."""
    body: bytes = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    received = len(body)
    while received < _MOST_DROPPED and len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        chunk = stream.read(_READ_AT_ONCE)
        if not chunk:
            break
        received += len(chunk)
    return body, received
