"""A master that is demoted and lives on: nobody may stay with it."""

from __future__ import annotations

import signal
from typing import Any

import redis
from redis.exceptions import RedisError

from dev.clusters.certificates import Certificates
from dev.clusters.redis import PASSWORD, SERVICE, USER, Server
from dev.processes import LOOPBACK
from runtime import redis_clients
from runtime.config.redis import RedisKind, RedisSettings
from runtime.redis_roles import leave_if_demoted
from tests.system import eventually


def test_after_a_switchover_all_write_to_the_new_master(
    redis_with_sentinel: tuple[Server, Server, int], certificates: Certificates
) -> None:
    master, replica, port = redis_with_sentinel
    client = _client(port, certificates)
    assert client.set("coupon-a", 1)

    sentinel = _sentinel(port, certificates)
    eventually(lambda: bool(sentinel.sentinel_slaves(SERVICE)))
    sentinel.execute_command("SENTINEL FAILOVER", SERVICE)
    eventually(lambda: master.client().info("replication")["role"] == "slave", within_s=30)

    def writes() -> bool:
        try:
            return bool(client.set("coupon-b", 1))
        except RedisError as error:
            leave_if_demoted(client, error)
            return False

    eventually(writes)
    assert all(writes() for _ in range(20))
    assert replica.client().get("coupon-b") == b"1"
    client.close()


def test_a_master_that_lives_on_beside_the_new_one_is_left(
    redis_with_sentinel: tuple[Server, Server, int], certificates: Certificates
) -> None:
    """It hung, and wakes as a master: for ten seconds it takes writes that the new one never hears of."""
    old, new, port = redis_with_sentinel
    client = _client(port, certificates)
    assert client.set("coupon-c", 1)
    eventually(lambda: new.client().get("coupon-c") == b"1")
    with _sentinel(port, certificates) as sentinel:
        eventually(lambda: bool(sentinel.sentinel_slaves(SERVICE)))

    old.process.signal(signal.SIGSTOP)
    try:
        eventually(lambda: _named(port, certificates) == new.port, within_s=30)
    finally:
        old.process.signal(signal.SIGCONT)
    eventually(lambda: bool(client.set("coupon-d", 1)) and new.client().get("coupon-d") == b"1", within_s=5)

    assert old.client().info("replication")["role"] == "master"
    client.close()


def _sentinel(port: int, certificates: Certificates) -> redis.Redis:
    return redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificates.ca))


def _named(port: int, certificates: Certificates) -> int:
    """The master's port, as the Sentinel says."""
    with _sentinel(port, certificates) as sentinel:
        told: Any = sentinel.sentinel_get_master_addr_by_name(SERVICE)
    return int(told[1])


def _client(port: int, certificates: Certificates) -> redis.Redis:
    reached = RedisSettings(
        kind=RedisKind.SENTINEL,
        addresses=((LOOPBACK, port),),
        service=SERVICE,
        timeout_s=1.0,
        username=USER,
        password=PASSWORD,
        is_encrypted=True,
        ssl_ca=str(certificates.ca),
    )
    return redis_clients.make(reached, name="test", timeout_s=1.0)
