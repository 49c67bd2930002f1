"""The address of a shop's login, for tests: it tells keys, or does what such addresses do at night."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from dev.processes import LOOPBACK


class JwksServer:
    """``text``: what it tells. ``asked``: how often it was asked."""

    def __init__(self, text: str, *, port: int = 0) -> None:
        self.text = text
        self.asked = 0
        self._how = ""
        self._server = ThreadingHTTPServer((LOOPBACK, port), self._handler())
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}/jwks.json"

    def answer_with(self, how: str) -> None:
        """From now on: gone, 500, html, empty, large, redirect, drip, hang; empty for the text."""
        self._how = how

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked += 1
                with suppress(OSError):
                    server.respond(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        how = "" if handler.path.endswith("?again") else self._how
        if how == "gone":
            handler.connection.close()
            return
        if how == "hang":
            time.sleep(30)
        status = {"500": 500, "redirect": 302}.get(how, 200)
        text = {"html": "<html>sign in</html>", "empty": "", "large": "x" * 1_000_000}.get(how, self.text)
        handler.send_response(status)
        if how == "redirect":
            handler.send_header("Location", self.address + "?again")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        if how == "drip":
            for letter in text:
                handler.wfile.write(letter.encode())
                time.sleep(0.02)
        else:
            handler.wfile.write(text.encode())
