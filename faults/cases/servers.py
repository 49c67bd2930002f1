"""A server stops answering, dies, or comes back with nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from django_redis import get_redis_connection

from faults.case import Case
from faults.scene import Scene


def _paused(server: str) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.services.do("pause", server)
        scene.struck()
        try:
            time.sleep(scene.scale.outage_s)
        finally:
            scene.services.do("resume", server)

    return act


def _killed(server: str, *, away_s: float = 0) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        scene.services.do("kill", server)
        scene.struck()
        try:
            time.sleep(away_s)
        finally:
            scene.services.do("start", server)

    return act


def _flush_redis(scene: Scene) -> None:
    """Three times, while claims are on their way."""
    for part in (4, 3, 2):
        scene.rush.wait_accepted(scene.stock // part)
        get_redis_connection("default").flushall()
        scene.struck()


def _read_only(scene: Scene) -> None:
    scene.services.sql("SET GLOBAL read_only = 1")
    scene.struck()
    try:
        time.sleep(scene.scale.outage_s / 2)
    finally:
        scene.services.sql("SET GLOBAL read_only = 0")


CASES = [
    Case(name="redis-flushed", what="FLUSHALL, three times", act=_flush_redis, in_short=True),
    Case(name="redis-killed", what="Redis killed, away for 5 s, back empty", act=_killed("redis", away_s=5)),
    Case(
        name="redis-restarted",
        what="Redis killed and started at once, empty",
        act=_killed("redis"),
        in_short=True,
    ),
    Case(name="redis-stopped", what="Redis stopped (SIGSTOP)", act=_paused("redis")),
    Case(name="broker-stopped", what="broker stopped (SIGSTOP)", act=_paused("kafka"), in_short=True),
    Case(name="broker-killed", what="broker killed and restarted", act=_killed("kafka")),
    Case(name="database-stopped", what="database stopped (SIGSTOP)", act=_paused("db")),
    Case(name="database-killed", what="database killed and restarted", act=_killed("db"), in_short=True),
    Case(name="database-read-only", what="database refuses writes (read_only)", act=_read_only),
]
