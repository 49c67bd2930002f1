"""Reads a request's body in the loop that owns the connection."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

_READ_AT_ONCE: Final = 65_536
_MOST_DROPPED: Final = 32 * 1024 * 1024


def read(environ: dict[str, Any]) -> bytes:
    """The body; of one that is larger than Django reads, a byte more than that, so that it is noticed.

    The rest of a large one is taken and dropped: a client that is still sending would see its
    connection reset, and not the answer.
    """
    if environ.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    stream = environ["wsgi.input"]
    body: bytes = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    dropped = 0
    while dropped < _MOST_DROPPED and len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        chunk = stream.read(_READ_AT_ONCE)
        if not chunk:
            break
        dropped += len(chunk)
    return body
