"""A server stops answering, dies, or comes back with nothing."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from dev.faults.case import Case, Scale, lasting
from dev.faults.scene import Scene
from dev.processes import LOOPBACK, Process, free_port
from dev.servers import redis_options
from tests.system import eventually


def paused(
    server: str, *, for_s: Callable[[Scale], float] = lambda scale: scale.outage_s
) -> Callable[[Scene], None]:
    return lasting(
        lambda scene: scene.services.do("pause", server),
        lambda scene: scene.services.do("resume", server),
        for_s=for_s,
    )


def _killed(server: str, *, away_s: float = 0) -> Callable[[Scene], None]:
    return lasting(
        lambda scene: scene.services.do("kill", server),
        lambda scene: scene.services.do("start", server),
        for_s=lambda scale: away_s,
    )


def _half(scale: Scale) -> float:
    return scale.outage_s / 2


def _three_times(strike: Callable[[Scene], object]) -> Callable[[Scene], None]:
    """While claims are on their way."""

    def act(scene: Scene) -> None:
        for part in (4, 3, 2):
            scene.rush.wait_accepted(scene.stock // part)
            strike(scene)
            scene.struck()

    return act


def _lose_reservations(scene: Scene) -> None:
    """The coupon's reservations alone go, as by eviction; the rest of its gate stays."""
    get_redis_connection("default").delete(f"{{coupon:{scene.coupon_id}}}:reservations")


def _failed_over(scene: Scene) -> None:
    """To a replica, and back: the old master lives on as a replica, with the connections that it had."""
    here = scene.services.port("redis")
    _redis(here).config_set("repl-diskless-sync-delay", 0)
    with _replica(here) as there:
        _swap(scene, old=here, new=there)
        scene.struck()
        time.sleep(_half(scene.scale))
        _swap(scene, old=there, new=here)
        time.sleep(1)


@contextmanager
def _replica(of_port: int) -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = Process(
            name="Redis' replica",
            command=["redis-server", *redis_options(port), "--replicaof", f"{LOOPBACK} {of_port}"],
            log=Path(folder) / "redis.log",
            env=os.environ,
            folder=Path(folder),
        )
        try:
            process.start().wait_ready(lambda: _is_synced(port), within_s=30)
            yield port
        finally:
            process.kill()


def _is_synced(port: int) -> bool:
    try:
        return bool(_redis(port).info("replication").get("master_link_status") == "up")
    except RedisError:
        return False


def _swap(scene: Scene, *, old: int, new: int) -> None:
    _redis(new).replicaof("NO", "ONE")
    for link in scene.links.values():
        link.lead_to(new, breaks=False)
    _redis(old).replicaof(LOOPBACK, new)
    eventually(lambda: _is_synced(old), within_s=30)


def _redis(port: int) -> Redis:
    return Redis(host=LOOPBACK, port=port, socket_timeout=5)


#: No memory is left: Redis refuses what would take more, and goes on freeing.
_FULL = lasting(
    lambda scene: get_redis_connection("default").config_set("maxmemory", 1),
    lambda scene: get_redis_connection("default").config_set("maxmemory", 0),
    for_s=_half,
)
_READ_ONLY = lasting(
    lambda scene: scene.services.sql("SET GLOBAL read_only = 1"),
    lambda scene: scene.services.sql("SET GLOBAL read_only = 0"),
    for_s=_half,
)

CASES = [
    Case(
        name="redis-flushed",
        what="FLUSHALL, three times",
        act=_three_times(lambda scene: get_redis_connection("default").flushall()),
        in_short=True,
    ),
    Case(name="redis-killed", what="Redis killed, away for 5 s, back empty", act=_killed("redis", away_s=5)),
    Case(
        name="redis-restarted",
        what="Redis killed and started at once, empty",
        act=_killed("redis"),
        in_short=True,
    ),
    Case(
        name="redis-reservations-lost",
        what="the coupon's reservations in Redis deleted, three times",
        act=_three_times(_lose_reservations),
    ),
    Case(name="redis-full", what="Redis out of memory (noeviction)", act=_FULL),
    Case(
        name="redis-failed-over",
        what="Redis failed over and back, each old master living on as a replica",
        act=_failed_over,
        lasts_s=lambda scale: 3 * scale.outage_s,
        links=("api-redis", "consumer-redis"),
    ),
    Case(name="redis-stopped", what="Redis stopped (SIGSTOP)", act=paused("redis")),
    Case(name="broker-stopped", what="broker stopped (SIGSTOP)", act=paused("kafka"), in_short=True),
    Case(name="broker-killed", what="broker killed and restarted", act=_killed("kafka")),
    *(
        Case(
            name=f"broker-killed-named-{protocol}",
            what=f"the same, the consumer with a name, by the {protocol} protocol",
            act=_killed("kafka"),
            env={"KAFKA_GROUP_PROTOCOL": protocol, "KAFKA_GROUP_INSTANCE_ID": "consumer-0"},
        )
        for protocol in ("cooperative", "consumer")
    ),
    Case(name="database-stopped", what="database stopped (SIGSTOP)", act=paused("db")),
    Case(name="database-killed", what="database killed and restarted", act=_killed("db"), in_short=True),
    Case(name="database-read-only", what="database refuses writes (read_only)", act=_READ_ONLY),
]
