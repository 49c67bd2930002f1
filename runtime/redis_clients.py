"""The process's clients of Redis, made in one place: for one server, for Sentinels, or for a cluster."""

from __future__ import annotations

import logging
import threading
import time
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from redis import Connection, ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from runtime.config.redis import Address, RedisKind, RedisSettings
from runtime.redis_cluster import ClusterRedis

log = logging.getLogger(__name__)

#: A client asks its Sentinels so often whether its master is still one. Longer, and after a failover two
#: masters are told for longer; shorter, and the Sentinels are kept busy.
_ASKS_EVERY_S: Final = 1.0


class ConnectionFactory:
    """django-redis makes one for each of its caches and threads; the clients are the process's."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._timeout_s: float = options["SOCKET_TIMEOUT"]

    def connect(self, name: str) -> Redis:
        return _shared(settings.CONFIG.redis, name, self._timeout_s)

    def disconnect(self, connection: Redis) -> None:
        connection.close()


@lru_cache
def _shared(reached: RedisSettings, name: str, timeout_s: float) -> Redis:
    """One client for all threads. It connects at its first call, so it may be made before a fork."""
    return make(reached, name=name, timeout_s=timeout_s)


def make(reached: RedisSettings, *, name: str, timeout_s: float) -> Redis:
    """A client; ``timeout_s``: of a call, which may wait longer than connecting does. Redis shows ``name``.

    A call is tried once, because a lost reply must not run a script twice unseen.
    """
    connecting = {**_connecting(reached, timeout_s=timeout_s), **_ssl(reached), "client_name": name}
    match reached.kind:
        case RedisKind.CLUSTER:
            return ClusterRedis(reached.addresses, longest_call_s=reached.longest_call_s, **connecting)
        case RedisKind.SENTINEL:
            connecting |= {"db": reached.database, "retry": _once()}
            pool = _FollowingPool(reached.service, _sentinels(reached), **connecting)
            return Redis(connection_pool=pool)
        case RedisKind.STANDALONE:
            server = next(iter(reached.addresses), None)
            return at(reached, server, client_name=name, socket_timeout=timeout_s)


def at(reached: RedisSettings, address: Address | None, **changes: Any) -> Redis:
    """A client of this one server; None: of the one at the unix socket."""
    options = {**_connecting(reached, timeout_s=reached.timeout_s), "retry": _once(), **changes}
    if reached.kind is RedisKind.STANDALONE:
        options["db"] = reached.database
    if address is None:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=reached.path, **options)
    elif not reached.is_encrypted:
        pool = ConnectionPool(connection_class=Connection, host=address[0], port=address[1], **options)
    else:
        files = {name: value for name, value in _ssl(reached).items() if name != "ssl"}
        pool = ConnectionPool(
            connection_class=SSLConnection, host=address[0], port=address[1], **files, **options
        )
    return Redis(connection_pool=pool)


class _FollowingPool(SentinelConnectionPool):
    """Leaves a server that the Sentinels name no more, also while it answers and takes writes.

    A master that hung, or came back while another one was promoted, stays a master until its Sentinels have
    seen it well for 8 s. redis-py asks them for new connections only. From any thread.
    """

    def __init__(self, service: str, sentinels: Sentinel, **options: Any) -> None:
        super().__init__(service, sentinels, **options)  # type: ignore[no-untyped-call]
        self._asks_at = 0.0

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        if time.monotonic() >= self._asks_at:
            self._asks_at = time.monotonic() + _ASKS_EVERY_S
            # Nobody who wants a connection waits for a Sentinel that hangs.
            threading.Thread(target=self._follow, name="sentinel", daemon=True).start()
        return super().get_connection(*arguments, **options)

    def _follow(self) -> None:
        try:
            self.get_master_address()  # type: ignore[no-untyped-call]  # drops connections to any other one
        except RedisError as error:  # the connections that are there stay; the next one says what is wrong
            log.debug("the Sentinels name no master: %s", error)


class _Sentinels(Sentinel):
    def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master's address. Raises MasterNotFoundError with the reasons, which redis-py leaves out."""
        reasons = []
        for sentinel in list(self.sentinels):
            try:
                masters: Any = sentinel.sentinel_masters()
            except RedisError as error:
                reasons.append(f"{type(error).__name__}: {error}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"no Sentinel names a master {service_name}. {'; '.join(reasons)}")


def _sentinels(reached: RedisSettings) -> Sentinel:
    # Without these a Sentinel is asked in clear text, without a password, and tried several times.
    asking = {
        **_connecting(reached, timeout_s=reached.timeout_s),
        "username": reached.sentinel_username,
        "password": reached.sentinel_password,
        "retry": _once(),
        **_ssl(reached),
    }
    return _Sentinels(list(reached.addresses), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]


def _connecting(reached: RedisSettings, *, timeout_s: float) -> dict[str, Any]:
    return {
        "username": reached.username,
        "password": reached.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": reached.timeout_s,
    }


def _ssl(reached: RedisSettings) -> dict[str, Any]:
    if not reached.is_encrypted:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": reached.ssl_ca or None,
        "ssl_certfile": reached.ssl_certificate or None,
        "ssl_keyfile": reached.ssl_key or None,
        "ssl_check_hostname": reached.checks_hostname,
    }


def _once() -> Retry:
    return Retry(NoBackoff(), 0)
