"""A master that is demoted and lives on: nobody may stay with it."""

from __future__ import annotations

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
    client = redis_clients.make(reached, name="test", timeout_s=1.0)
    assert client.set("coupon-a", 1)

    sentinel = redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificates.ca))
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
