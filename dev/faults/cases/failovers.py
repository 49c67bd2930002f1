"""Redis and the database fail over, over TLS: behind a Sentinel, as a cluster, behind haproxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from dev.clusters.databases import Databases
from dev.clusters.parts import Part
from dev.clusters.redis_nodes import RedisNodes
from dev.clusters.servers import ClusterServers
from dev.clusters.watched_redis import WatchedRedis
from dev.faults.case import Case, Scale
from dev.faults.scene import Scene
from dev.services.own import Services

_SENTINEL, _CLUSTER = frozenset({Part.SENTINEL}), frozenset({Part.REDIS_CLUSTER})
_DATABASES: Final = frozenset({Part.DATABASES})
#: What the replica does not hear. Longer than 5 s, and the Sentinel would not promote it.
_BEHIND_S: Final = 2.0
_CHOSEN_AFTER_S: Final = 3.0  #: an operator or a tool promotes the other database
_MOVES: Final = 3


def _servers(services: Services) -> ClusterServers:
    assert isinstance(services, ClusterServers)
    return services


def _sentinel(scene: Scene) -> WatchedRedis:
    redis = _servers(scene.services).redis
    assert isinstance(redis, WatchedRedis)
    return redis


def _cluster(scene: Scene) -> RedisNodes:
    redis = _servers(scene.services).redis
    assert isinstance(redis, RedisNodes)
    return redis


def _databases(services: Services) -> Databases:
    return _servers(services).databases


def _kill_master(scene: Scene) -> None:
    redis = _sentinel(scene)
    old = redis.kill_master()
    scene.struck()
    redis.wait_promoted(besides=old)
    redis.mend()


def _promote_one_that_is_behind(scene: Scene) -> None:
    """It holds reservations that were decided, and were freed where it did not hear of it."""
    redis = _sentinel(scene)
    with scene.consumer.paused():
        time.sleep(0.5)
        redis.leave_behind()
    time.sleep(_BEHIND_S)
    scene.struck()
    scene.expect(_reservations(scene, redis) > 0, "the replica held no reservation")
    old = redis.kill_master()
    redis.wait_promoted(besides=old)
    redis.mend()


def _reservations(scene: Scene, redis: WatchedRedis) -> int:
    return int(redis.replica.client().hlen(f"{{coupon:{scene.coupon_id}}}:reservations"))


def _switch_master(scene: Scene) -> None:
    redis = _sentinel(scene)
    redis.switch()
    scene.struck()
    redis.mend()


def _reshard(scene: Scene) -> None:
    scene.struck()
    for _ in range(_MOVES):
        _cluster(scene).move(_gate(scene), at_each_step=lambda: time.sleep(0.3))


def _kill_node(scene: Scene) -> None:
    redis = _cluster(scene)
    node = redis.owner(_gate(scene))
    redis.kill(node)
    scene.struck()
    redis.wait_promoted(_gate(scene), besides=node)
    redis.mend()


def _gate(scene: Scene) -> str:
    return f"{{coupon:{scene.coupon_id}}}:gate"


@contextmanager
def _followed(services: Services) -> Iterator[None]:
    databases = _databases(services)
    databases.follow()
    try:
        yield
    finally:
        databases.forget()


def _promote_planned(scene: Scene) -> None:
    """Nothing is lost; the connections to the old primary stay, and it answers reads."""
    databases = _databases(scene.services)
    databases.refuse_writes()
    scene.struck()
    databases.wait_for_second()
    databases.promote()


def _kill_primary(scene: Scene) -> None:
    databases = _databases(scene.services)
    databases.kill_first()
    scene.struck()
    time.sleep(_CHOSEN_AFTER_S)
    databases.promote()


def _no_wrong_refusal(scene: Scene) -> None:
    """Nobody is told that all are gone before the last one is: a later claim would have got it."""
    issued = scene.issued_ids()
    answers = list(scene.rush.answers)
    last = max((a.asked_at for a in answers if a.request_id in issued), default=0.0)
    wrong = [a for a in answers if a.code == "OUT_OF_STOCK" and a.answered_at < last]
    if wrong:
        since = min(a.answered_at for a in wrong)
        scene.expect(False, f"{len(wrong)} were told OUT_OF_STOCK, up to {last - since:.1f} s too early")


def _longer(scale: Scale) -> float:
    return 1.25 * scale.rush_s


def _on(
    parts: frozenset[Part],
    name: str,
    what: str,
    act: Callable[[Scene], None],
    *,
    in_short: bool = False,
    around: Callable[[Services], AbstractContextManager[None]] = lambda services: nullcontext(),
) -> Case:
    return Case(
        name=name,
        what=what,
        act=act,
        parts=parts,
        in_short=in_short,
        lasts_s=_longer,
        demands=_no_wrong_refusal,
        around=around,
    )


CASES = [
    _on(
        _SENTINEL,
        "sentinel-master-killed",
        "Redis' master killed, and a Sentinel promotes its replica",
        _kill_master,
    ),
    _on(
        _SENTINEL,
        "sentinel-replica-behind",
        f"Redis' master killed, and the replica that is promoted is {_BEHIND_S:.0f} s behind",
        _promote_one_that_is_behind,
        in_short=True,
    ),
    _on(
        _SENTINEL,
        "sentinel-switched",
        "Redis failed over by its Sentinel, the old master living on as a replica",
        _switch_master,
    ),
    _on(
        _CLUSTER,
        "cluster-resharded",
        f"the coupon's slot moved between Redis' nodes, {_MOVES} times, each time for a second",
        _reshard,
        in_short=True,
    ),
    _on(
        _CLUSTER,
        "cluster-master-killed",
        "the Redis node that has the coupon killed, and its replica promoted",
        _kill_node,
    ),
    _on(
        _DATABASES,
        "database-switched",
        "primary made read-only, replica promoted; connections to the old one stay, and it answers reads",
        _promote_planned,
        in_short=True,
        around=_followed,
    ),
    _on(
        _DATABASES,
        "database-primary-killed",
        f"primary killed (SIGKILL), and the replica promoted {_CHOSEN_AFTER_S:.0f} s later",
        _kill_primary,
        around=_followed,
    ),
]
