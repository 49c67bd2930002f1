"""Health and info in Spring Actuator's shape, for the API's port and the consumer's.

A check runs in a thread of its own, and an answer waits for it at most two seconds: a dependency that
hangs makes its component DOWN, never the health route. A request that waits is a greenlet and holds no
thread.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import django
import gevent
import gevent.event
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseLayerError
from django_redis import get_redis_connection
from redis.exceptions import ReadOnlyError, RedisError

from runtime import __version__, database_server, redis_server

#: A check that takes longer counts as DOWN. Shorter, and a slow server unreadies us; longer, and probes,
#: which have timeouts of a few seconds, give up on the route itself.
PATIENCE_S: Final = 2.0
_REDIS_KEY: Final = "coupon-health"
_REDIS_KEPT_MS: Final = 10_000  #: any time will do: the key is written, never read
_STARTED_AT_MS: Final = time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component's state; ``details`` are shown as they are."""

    is_up: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"status": "UP" if self.is_up else "DOWN"}
        return shown | ({"details": dict(self.details)} if self.details else {})


class Check:
    """Runs ``probe`` in a thread of its own, one at a time: requests meanwhile share its answer.

    ``probe`` may block its thread; it must not touch greenlets.
    """

    def __init__(self, probe: Callable[[], Component]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._running: Future[Component] | None = None

    def start(self) -> Future[Component]:
        """Start the probe, unless it runs. From any thread or loop: it does not wait."""
        with self._lock:
            # Made on its first use: a thread that was started before a fork does not exist after it.
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
            if self._running is None or self._running.done():
                self._running = self._executor.submit(self._probe)
            return self._running


def _components(checks: Mapping[str, Check]) -> dict[str, Component]:
    """The checks' answers; they run side by side. A check without an answer in time is DOWN."""
    running = {name: check.start() for name, check in checks.items()}
    late = Component(is_up=False, details={"error": f"no answer in {PATIENCE_S:.0f} s"})
    _wait(running.values())
    return {name: each.result() if each.done() else late for name, each in running.items()}


def _wait(futures: Iterable[Future[Component]]) -> None:
    """Wait until all are done, or PATIENCE_S; other greenlets of this thread go on meanwhile."""
    hub_loop = gevent.get_hub().loop
    until = time.monotonic() + PATIENCE_S
    for future in futures:
        done = gevent.event.Event()
        future.add_done_callback(lambda _, done=done: hub_loop.run_callback_threadsafe(done.set))  # type: ignore[misc]
        done.wait(max(0.0, until - time.monotonic()))


def database(alias: str = DEFAULT_DB_ALIAS) -> Component:
    """Whether the database answers, in a check's thread."""
    connection = connections[alias]
    try:
        connection.close_if_unusable_or_obsolete()
        details = database_server.details(connection)
        if details.get("readOnly"):
            connection.close()  # the next look is at the server that the name leads to then
        return Component(is_up=True, details=details)
    except DatabaseLayerError as error:
        connection.close()
        return Component(is_up=False, details={"error": type(error).__name__})


def redis() -> Component:
    """Whether Redis takes writes, in a check's thread. Only shown: without Redis we are slower, and ready."""
    client = get_redis_connection("default")
    try:
        # A write, because a replica and a full Redis answer PING too.
        client.set(_REDIS_KEY, 1, px=_REDIS_KEPT_MS)
        return Component(is_up=True, details=redis_server.details(client, settings.CONFIG.redis))
    except RedisError as error:
        if isinstance(error, ReadOnlyError):
            client.connection_pool.disconnect(inuse_connections=False)  # this server is no master any more
        return Component(
            is_up=False,
            details={
                "error": type(error).__name__,
                "effect": "claims are checked in the database, slower",
                **({"mend": mend} if (mend := redis_server.mend_of(error)) else {}),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """The health routes of one service. ``required``: the components on which readiness depends.

    ``health`` and ``readiness`` wait for their checks as a greenlet: call them in a loop. ``liveness`` runs
    in that loop, so it must not wait.
    """

    checks: Mapping[str, Check]
    required: frozenset[str]
    liveness: Callable[[], Component] = lambda: Component(is_up=True)

    def health(self) -> tuple[int, dict[str, Any]]:
        return _report(_components(self.checks))

    def readiness(self) -> tuple[int, dict[str, Any]]:
        required = {name: check for name, check in self.checks.items() if name in self.required}
        return _report(_components(required))

    def live(self) -> tuple[int, dict[str, Any]]:
        return _report({"livenessState": self.liveness()})


def info() -> dict[str, Any]:
    return {
        "app": {"name": "coupon-system", "version": __version__},
        "runtime": {"python": platform.python_version(), "django": django.get_version()},
        "process": {"startedAt": _STARTED_AT_MS},
    }


def _report(components: Mapping[str, Component]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body: 503 and DOWN if any component is down."""
    is_up = all(component.is_up for component in components.values())
    return (200 if is_up else 503), {
        "status": "UP" if is_up else "DOWN",
        "components": {name: component.as_json() for name, component in components.items()},
    }
