"""What a Redis server says of itself, and what an error of its says about our settings."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from runtime.config.redis import RedisKind, RedisSettings
from runtime.operator_language import marked
from runtime.redis_cluster import ClusterRedis

log = logging.getLogger("coupons.redis")  # one line of a kind a minute: runtime/logs.py

#: Words of an error, and what mends it. The first that fits counts.
_MENDS: Final = (
    (
        ("NOPERM", "no permissions", "NoPermission"),
        marked("give REDIS_URL's user the rights in docs/connections.md"),
    ),
    (
        ("Authentication", "WRONGPASS", "NOAUTH", "username-password", "AUTH "),
        marked("REDIS_URL needs another user or password"),
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate"),
        marked("REDIS_SSL_CA must have signed the certificate, which must be for the host connected to"),
    ),
    (("MOVED ", "CROSSSLOT"), marked("this is a cluster: REDIS_URL must begin with redis+cluster://")),
)


_UNNOTICED: Final = "not noticed by the gates: give REDIS_URL's user +info, as docs/connections.md says"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    kind: RedisKind
    role: str  #: master or replica; empty for a Sentinel
    version: str


def ask(client: Redis) -> RedisServer | None:
    """The server, in its own words; None if it has none, as before Redis 6. Raises RedisError."""
    any_node = {"target_nodes": client.any_node} if isinstance(client, ClusterRedis) else {}
    try:
        told: Any = client.execute_command("HELLO", **any_node)  # type: ignore[no-untyped-call]
    except ResponseError:  # it does not know the command, or a proxy does not
        return None
    pairs = told if isinstance(told, dict) else dict(zip(told[::2], told[1::2], strict=True))
    words = {_text(name): _text(value) for name, value in pairs.items()}
    if words.get("mode") not in set(RedisKind):
        return None
    kind = RedisKind(words["mode"])
    role = "" if kind is RedisKind.SENTINEL else words.get("role", "")
    return RedisServer(kind=kind, role=role, version=words.get("version", ""))


def details(client: Redis, reached: RedisSettings) -> dict[str, Any]:
    """For health. Raises RedisError, also if a cluster does not serve all slots."""
    server = ask(client)
    shown: dict[str, Any] = {"mode": reached.kind.value, "encrypted": reached.is_encrypted}
    if not _tells_its_history(client):
        shown["failovers"] = _UNNOTICED
    if server is not None:
        shown["version"] = server.version
    if isinstance(client, ClusterRedis):
        state = client.execute_command("CLUSTER INFO")
        if state["cluster_state"] != "ok":
            raise ResponseError("CLUSTERDOWN The cluster does not serve all slots")
        return shown | {"masters": client.masters}
    return shown | ({"role": server.role} if server is not None else {})


def _tells_its_history(client: Redis) -> bool:
    """Whether we may ask what the gate's scripts ask, to notice that another server has taken over."""
    any_node = {"target_nodes": client.any_node} if isinstance(client, ClusterRedis) else {}
    try:
        client.execute_command("INFO", "replication", **any_node)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def mend_of(error: RedisError) -> str:
    """What mends the error, in English as logs and health are; empty if waiting may."""
    text = f"{type(error).__name__} {error}"
    return next((mend for words, mend in _MENDS if any(word in text for word in words)), "")


def warn(error: RedisError) -> None:
    """Say that Redis fails: a wrong password must not be a system that is merely slow. From any thread."""
    mend = mend_of(error)
    log.warning(
        "%s of Redis, claims are checked in the database, slower: %s%s",
        type(error).__name__,
        error,
        f" ({mend})" if mend else "",
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
