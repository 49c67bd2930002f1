"""A token endpoint for client credentials, over TLS: it gives tokens that an unconfigured broker takes."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from dev.clusters.certificates import Certificates
from dev.processes import LOOPBACK

CLIENT, SECRET = "shop", "of-the-client"
_LOGIN = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()


class _Endpoint(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        is_known = self.headers.get("Authorization") == f"Basic {_LOGIN}"
        now = int(time.time())
        token = f"{_part({'alg': 'none'})}.{_part({'sub': CLIENT, 'iat': now, 'exp': now + 60})}."
        answer = {"access_token": token, "expires_in": 60} if is_known else {"error": "invalid_client"}
        body = json.dumps(answer).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def endpoint(certificates: Certificates) -> Iterator[str]:
    """Its URL."""
    server = HTTPServer((LOOPBACK, 0), _Endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://{LOOPBACK}:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()


def _part(words: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(words).encode()).rstrip(b"=").decode()
