"""Reads a request's body in the loop that owns the connection."""

from __future__ import annotations

import errno
from typing import Any, Final

import gevent
from django.conf import settings

#: For the whole body. Shorter, and a slow phone's is cut off; longer, and clients that send nothing hold
#: connections.
PATIENCE_S: Final = 20.0
_READ_AT_ONCE: Final = 65_536  #: bytes of a body that is dropped: a bound on memory
#: Of a larger body the client sees a reset instead of the answer. More, and such clients cost more traffic.
_MOST_DROPPED: Final = 32 * 1024 * 1024


def read(environ: dict[str, Any]) -> bytes:
    """The body; if it is larger than Django reads, one byte more than that, so that Django refuses it.

    The rest of a large body is read and dropped: a client that is still sending would see its connection
    reset instead of the answer. A client that stops in the middle of its body loses its connection: ENOTCONN,
    which gunicorn takes for a client that has gone. Runs in the loop, in the connection's greenlet.
    """
    if environ.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    with gevent.Timeout(PATIENCE_S, OSError(errno.ENOTCONN, "the request's body did not come")):
        body, received = _read(environ["wsgi.input"])
    if received < min(int(environ.get("CONTENT_LENGTH") or 0), _MOST_DROPPED):
        raise OSError(errno.ENOTCONN, "the request's body ended before its end")
    return body


def _read(stream: Any) -> tuple[bytes, int]:
    """The bytes that are kept, and how many came."""
    body: bytes = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
    received = len(body)
    while received < _MOST_DROPPED and len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        chunk = stream.read(_READ_AT_ONCE)
        if not chunk:
            break
        received += len(chunk)
    return body, received
