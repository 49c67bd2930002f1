"""The consumer's health port: the same routes as the API's actuator."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from django.conf import settings

from consumer.loop import LoopState
from coupons.health import broker
from coupons.surroundings import watching
from couponsite import actuator, metrics
from couponsite.actuator import Actuator, Check, Component

_STILL_S: Final = 60.0  #: a loop that did not turn for so long hangs, whatever there is to decide
Route = Callable[[], tuple[int, dict[str, Any]]]


def actuator_of(state: LoopState, housekeeping: Callable[[], Component]) -> Actuator:
    """Health looks at progress: a process that is there and decides nothing is DOWN."""

    def progress() -> Component:
        now = time.monotonic()
        limit_s = settings.CONFIG.consumer.stalled_after_s
        waiting_s = 0.0 if state.waiting_since is None else now - state.waiting_since
        details: dict[str, Any] = {"partitions": list(state.partitions)}
        if waiting_s:
            details["undecidedSeconds"] = round(waiting_s, 1)
        if state.retrying_since is not None:
            details |= {
                "retryingSeconds": round(now - state.retrying_since, 1),
                "cause": state.retry_cause,
            }
        if stuck := dict(state.stuck):
            details["stuck"] = {str(partition): why for partition, why in stuck.items()}
        if not state.has_joined:
            details["waitingFor"] = "the group to assign partitions"
        is_up = state.has_joined and not stuck and now - state.turned_at < _STILL_S and waiting_s < limit_s
        return Component(is_up=is_up, details=details)

    def liveness() -> Component:
        # Past the poll interval the group has given our partitions away: only a restart mends that.
        longest_s = settings.CONFIG.consumer.max_poll_interval_ms / 1000 + _STILL_S
        return Component(is_up=time.monotonic() - state.turned_at < longest_s)

    return Actuator(
        checks={
            "db": Check(watching.database),
            "redis": Check(actuator.redis),
            "kafka": Check(broker),
            "consumer": Check(progress),
            "housekeeping": Check(housekeeping),
        },
        required=frozenset({"db", "kafka", "consumer"}),
        liveness=liveness,
    )


@contextmanager
def served(health: Actuator, *, host: str, port: int) -> Iterator[None]:
    """Serve the health routes in a thread while the block runs. Exits with one line if the port is taken."""
    routes: dict[str, Route] = {
        "/actuator/health": health.health,
        "/actuator/health/liveness": health.live,
        "/actuator/health/readiness": health.readiness,
        "/actuator/info": lambda: (200, actuator.info()),
    }
    try:
        server = ThreadingHTTPServer((host, port), _handler(routes))
    except OSError as error:
        sys.exit(
            f"cannot listen on {host}:{port}: {error.strerror}. "
            "Give this instance another port with --health-port or COUPON_HEALTH_PORT."
        )
    thread = threading.Thread(target=server.serve_forever, name="health-port", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _handler(routes: Mapping[str, Route]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds a client may take to ask

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0].rstrip("/")
            if path == "/actuator/prometheus":
                self._send(200, metrics.CONTENT_TYPE, metrics.exposition())
            elif path in routes:
                status, body = routes[path]()
                self._send(status, "application/json", json.dumps(body).encode())
            else:
                self._send(404, "application/json", b'{"status":404,"error":"Not Found"}')

        do_HEAD = do_GET

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Health is asked every few seconds: not worth a line each."""

    return Handler
