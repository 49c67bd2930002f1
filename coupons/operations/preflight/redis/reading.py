"""What Redis says of itself: of every master, where it is a cluster. In a preflight's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django_redis import get_redis_connection
from redis import Redis
from redis.exceptions import RedisError

from coupons.gate.keys import keys_of
from coupons.operations import connections
from coupons.operations.preflight import clocks
from coupons.operations.preflight.clocks import Reading
from coupons.operations.preflight.findings import Expected, Finding, Unanswered, red
from runtime import actuator
from runtime.actuator import Component
from runtime.config import Config
from runtime.config.redis import RedisKind
from runtime.operator_language import say
from runtime.redis_cluster import ClusterRedis

_NO_COUPON: Final = 0  #: coupons begin at 1, so these keys are nobody's
PLACE_KEY: Final = "coupon-requests:0"  #: of a request made in 1970
_KEPT_MS: Final = 1000
_SCRIPT: Final = """
    redis.call('HSET', KEYS[1], 'a', 'b'); redis.call('PEXPIRE', KEYS[1], 1000); return redis.call('TIME')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One master. ``info``: as INFO has it; ``refusal``: why it has none."""

    name: str
    info: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""
    clock: Reading | None = None

    def number(self, name: str, default: int = 0) -> int:
        value = self.info.get(name, default)
        return value if isinstance(value, int) else default

    def text(self, name: str) -> str:
        return str(self.info.get(name, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """``refused``: what we may not do -> why. ``master``: a Sentinel's words; empty without Sentinels."""

    config: Config
    expected: Expected
    component: Component
    nodes: Sequence[Node]
    refused: Mapping[str, str] = field(default_factory=dict)
    master: Mapping[str, Any] = field(default_factory=dict)


def read(expected: Expected) -> RedisFacts:
    config: Config = settings.CONFIG
    for problem in connections.redis_problems():
        raise Unanswered(red(problem, say("REDIS_URL as it says")))
    component = actuator.redis()
    if not component.is_up:
        raise Unanswered(away(config, component))
    client: Redis = get_redis_connection("default")
    try:
        return RedisFacts(
            config=config,
            expected=expected,
            component=component,
            nodes=list(_nodes(client)),
            refused=dict(_refused(client)),
            master=connections.known_master(config.redis) if config.redis.kind is RedisKind.SENTINEL else {},
        )
    except RedisError as error:
        raise Unanswered(
            red(
                say("Redis answered and went away: {kind}: {error}", kind=type(error).__name__, error=error),
                say("see whether it restarts"),
            )
        ) from error


def away(config: Config, component: Component) -> Finding:
    words = refusal()
    mend = say(component.details.get("mend", "")) or _mend(config, words)
    shown = f": {words}" if words else ""
    return red(
        say(
            "Redis takes no writes from us: {error}{shown}",
            error=component.details.get("error", ""),
            shown=shown,
        ),
        mend,
    )


def refusal() -> str:
    """Redis' own words, which health does not show: they may name an address."""
    client: Redis = get_redis_connection("default")
    try:
        client.set(PLACE_KEY, "preflight", nx=True, px=_KEPT_MS)
    except RedisError as error:
        return str(error)
    return ""


def _mend(config: Config, words: str) -> str:
    if "READONLY" in words or "read only replica" in words:
        return say("the master in REDIS_URL, or redis+sentinel://…, which finds it")
    if "CLUSTERDOWN" in words:
        return say("a master for every slot: redis-cli --cluster check, then --cluster fix")
    if "MISCONF" in words:
        return say("room on Redis' disk, or no snapshots: CONFIG SET save ''")
    if "OOM" in words:
        return say("more maxmemory for Redis")
    if "NOREPLICAS" in words:
        return say("Redis' replicas, or min-replicas-to-write 0")
    is_cut = "closed by server" in words or "reset by peer" in words
    if is_cut and not config.redis.is_encrypted:
        return say("rediss… in REDIS_URL, if Redis takes TLS alone; or the right port")
    return say("start it, or name it right in REDIS_URL")


def _nodes(client: Redis) -> Iterator[Node]:
    if not isinstance(client, ClusterRedis):
        yield _node("Redis", client)
        return
    for node in client.nodes.get_primaries():  # type: ignore[no-untyped-call]
        of_node: Redis = client.nodes.get_redis_connection(node)
        yield _node(f"Redis {node.name}", of_node)


def _node(name: str, client: Redis) -> Node:
    clock = clocks.read(lambda: _time(client), now=time.time)
    try:
        return Node(name=name, info=client.info(), clock=clock)
    except RedisError as error:
        if not _is_about_rights(error):
            raise
        return Node(name=name, refusal=str(error), clock=clock)


def _time(client: Redis) -> float:
    seconds, microseconds = client.time()
    return float(seconds) + microseconds / 1e6


def _refused(client: Redis) -> Iterator[tuple[str, str]]:
    """What a claim and a consumer need, on keys that are nobody's and vanish at once."""
    gate, reservations, _ = keys_of(_NO_COUPON)
    lock = f"lock:{{coupon:{_NO_COUPON}}}"
    tried: dict[str, Callable[[], object]] = {
        say("scripts"): lambda: client.eval(_SCRIPT, 1, gate),
        say("hashes"): lambda: client.hget(reservations, "a"),
        say("locks"): lambda: client.set(lock, "preflight", nx=True, px=_KEPT_MS),
        say("waiting for a lock"): lambda: client.blpop(
            [f"lock-signal:{{coupon:{_NO_COUPON}}}"], timeout=0.01
        ),
        say("places in the log"): lambda: client.set(PLACE_KEY, "preflight", nx=True, px=_KEPT_MS),
    }
    for what, attempt in tried.items():
        try:
            attempt()
        except RedisError as error:
            if not _is_about_rights(error):
                raise
            yield what, str(error)


def _is_about_rights(error: RedisError) -> bool:
    text = f"{type(error).__name__} {error}"
    return any(word in text for word in ("NOPERM", "NoPermission", "no permissions", "unknown command"))
