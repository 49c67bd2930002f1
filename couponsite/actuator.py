"""Health and info in Spring Actuator's shape, for the API's port and the consumer's.

A check runs in a thread of its own and is waited for at most two seconds: a dependency that
hangs makes its component DOWN, never the health route.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Any, Final

import django
from django.db import DatabaseError, connection
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from couponsite import __version__

_PATIENCE_S: Final = 2.0
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
    """Runs ``probe`` in its own thread, one at a time; no answer in time counts as DOWN."""

    def __init__(self, probe: Callable[[], Component]) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._running: Future[Component] | None = None

    def __call__(self) -> Component:
        with self._lock:
            if (
                self._executor is None
            ):  # made on first use: a thread started before a fork is not there after it
                self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="health")
            if self._running is None or self._running.done():
                self._running = self._executor.submit(self._probe)
            running = self._running
        try:
            return running.result(_PATIENCE_S)
        except FutureTimeout:
            return Component(is_up=False, details={"error": f"no answer in {_PATIENCE_S:.0f} s"})


def database() -> Component:
    try:
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except DatabaseError as error:
        connection.close()
        return Component(is_up=False, details={"error": type(error).__name__})
    return Component(is_up=True, details={"database": connection.display_name})


def redis() -> Component:
    """Redis away slows the service down and stops nothing: it is shown, and does not unready us."""
    try:
        get_redis_connection("default").ping()
    except RedisError as error:
        return Component(
            is_up=False,
            details={"error": type(error).__name__, "effect": "claims are checked in the database, slower"},
        )
    return Component(is_up=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actuator:
    """The health routes of one service. ``required`` names the components readiness depends on."""

    checks: Mapping[str, Check]
    required: frozenset[str]
    liveness: Callable[[], Component] = lambda: Component(is_up=True)

    def health(self) -> tuple[int, dict[str, Any]]:
        return _report({name: check() for name, check in self.checks.items()})

    def readiness(self) -> tuple[int, dict[str, Any]]:
        return _report({name: check() for name, check in self.checks.items() if name in self.required})

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
