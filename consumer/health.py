"""The consumer's health port: the same routes as the API's actuator."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import gevent
from django.conf import settings

from consumer.state import LoopState
from coupons.api.actuator_routes import ActuatorRoutes
from coupons.operations.health import servers
from runtime.actuator import Actuator, Check, Component
from runtime.http.reply import Reply
from runtime.http.request import Request
from runtime.http.server import Server

#: A loop that did not turn for so long hangs. Shorter, and a slow transaction unreadies the consumer; longer,
#: and a hanging one is replaced later.
_STILL_S: Final = 60.0
#: Room for a crowd of slow clients, so that a probe still gets a connection. Fewer, and such a crowd makes
#: the consumer look dead; more, and it takes more memory and file descriptors.
_CONNECTIONS: Final = 2000
#: Shorter, and probes connect anew each time; longer, and clients that ask nothing hold connections.
_KEEPALIVE_S: Final = 5.0
_BACKLOG: Final = 1024  #: connections that the kernel keeps while all of _CONNECTIONS are taken
_LOOK_EVERY_S: Final = 0.1  #: how late the thread notices its end at most
_STOP_S: Final = 2.0  #: a stopping consumer waits no longer for the answers that are on their way


def actuator_of(state: LoopState, housekeeping: Callable[[], Component]) -> Actuator:
    """The consumer's health: a process that lives and decides nothing is DOWN.

    Its checks run in threads of their own and only read ``state``, which the loop's thread writes.
    """

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
        if deferring := dict(state.deferring):
            details["deferring"] = {str(coupon_id): told for coupon_id, told in deferring.items()}
        resume_fails_s = 0.0 if state.resume_fails_since is None else now - state.resume_fails_since
        if resume_fails_s:
            details |= {"resumeFailsSeconds": round(resume_fails_s, 1), "resumeFailure": state.resume_failure}
        if not state.has_joined:
            details["waitingFor"] = "the group to assign partitions"
        # Deferred events wait because somebody wants it: that alone is no failure.
        is_late = max(waiting_s, resume_fails_s) >= limit_s
        is_up = state.has_joined and not stuck and now - state.turned_at < _STILL_S and not is_late
        return Component(is_up=is_up, details=details)

    def liveness() -> Component:
        # After the poll interval the group has given our partitions away: only a restart mends a hanging
        # loop.
        longest_s = settings.CONFIG.consumer.max_poll_interval_ms / 1000 + _STILL_S
        return Component(is_up=time.monotonic() - state.turned_at < longest_s)

    return Actuator(
        checks={
            **servers(),
            "consumer": Check(progress),
            "housekeeping": Check(housekeeping),
        },
        required=frozenset({"db", "kafka", "consumer"}),
        liveness=liveness,
    )


@contextmanager
def served(health: Actuator, *, host: str, port: int) -> Iterator[None]:
    """Serve the health routes in a thread while the block runs. Exits with one line if the port is taken."""
    try:
        listener = _listening(host, port)
    except OSError as error:
        sys.exit(
            f"cannot listen on {host}:{port}: {error.strerror}. "
            "Give this instance another port with --health-port or COUPON_HEALTH_PORT."
        )
    stop = threading.Event()
    thread = threading.Thread(target=_serve, args=(listener, health, stop), name="health-port", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_STOP_S)
        listener.close()


def _listening(host: str, port: int) -> socket.socket:
    # An IPv6 address has brackets, because gunicorn wants them.
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _serve(listener: socket.socket, health: Actuator, stop: threading.Event) -> None:
    """Run in the health thread, with a loop of greenlets of its own: a slow client costs no thread."""
    server = Server([listener], _Health(health), most_connections=_CONNECTIONS, keepalive_s=_KEEPALIVE_S)
    while not stop.is_set():
        gevent.sleep(_LOOK_EVERY_S)
        server.sweep()
    server.stop()
    until = time.monotonic() + _STOP_S / 2
    while len(server) and time.monotonic() < until:
        gevent.sleep(_LOOK_EVERY_S)
        server.sweep()
    server.close()


class _Health:
    """The application of the health port's server: the actuator's routes alone."""

    def __init__(self, health: Actuator) -> None:
        self._routes = ActuatorRoutes(health)

    def serve(self, request: Request) -> None:
        gevent.spawn(lambda: request.answer(self._routes.reply_to(request)))

    def longest_body(self, request: Request) -> int:
        return 0

    def refusal(self, status: int, headers: Mapping[bytes, bytes]) -> Reply:
        return Reply.of(status, b"")
