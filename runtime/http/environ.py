"""A request as WSGI applications get it (PEP 3333)."""

from __future__ import annotations

import os
import sys
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from runtime.http.request import Request

Environ = dict[str, Any]


def environ_of(request: Request) -> Environ:
    """The request as WSGI has it. The body is whole, however it came."""
    prefix = os.environ.get("SCRIPT_NAME", "")
    host, port = request.connection.address
    environ: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": prefix,
        "PATH_INFO": unquote_to_bytes(request.path.removeprefix(prefix)).decode("latin1"),
        "QUERY_STRING": request.query,
        "RAW_URI": request.target.decode("latin1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{request.version}",
        "REMOTE_ADDR": request.connection.peer[0],
        "REMOTE_PORT": str(request.connection.peer[1]),
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if request.is_secure else "http",
        "wsgi.input": BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.decode("latin1").upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value.decode("latin1")
        elif key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[f"HTTP_{key}"] = value.decode("latin1")
    return environ
